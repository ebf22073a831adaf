"""`compare`: another model answers the rows that a finished run was scored on."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitune.cli.options import AsJson, Run, Split, checked_split
from multitune.cli.output import hush, open_console, print_json, results
from multitune.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.evaluation.external import Estimate

API = "Where the other model stands behind an API"
Whom = Annotated[
    str,
    typer.Argument(
        metavar="WHOM", help="openai:MODEL (any OpenAI-compatible API), local:PATH_OR_HUB_ID or adapter:FOLDER."
    ),
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer; by task when absent.")]
ApiBase = Annotated[
    str | None, typer.Option(metavar="URL", help="Such as http://localhost:8000/v1.", rich_help_panel=API)
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Environment variable that holds the key; OPENAI_API_KEY if absent, for OpenAI's server alone.",
        rich_help_panel=API,
    ),
]
Price = Annotated[str | None, typer.Option(metavar="IN,OUT", help="Prices per million tokens.", rich_help_panel=API)]
MaxCost = Annotated[
    float | None, typer.Option(min=0, help="Most to pay for this comparison in all.", rich_help_panel=API)
]
MaxTokensTotal = Annotated[
    int | None, typer.Option(min=1, help="Most tokens of this comparison in all.", rich_help_panel=API)
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Of each request; null leaves one out.", rich_help_panel=API),
]


def compare(
    run: Run,
    whom: Whom,
    *,
    adapter: Annotated[str | None, typer.Option(help="Ours; what each task ships with when absent.")] = None,
    split: Split = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most rows per task.")] = None,
    max_tokens: MaxTokens = None,
    api_base: ApiBase = None,
    key_env: KeyEnv = None,
    price: Price = None,
    max_cost: MaxCost = None,
    max_tokens_total: MaxTokensTotal = None,
    parameter: Parameters = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.", rich_help_panel=API)] = 8,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for an answer.", rich_help_panel=API)] = 120.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending.", rich_help_panel=API)] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what a finished run ships with another model, task by task, on the rows that the run was scored on."""
    hush()
    checked_split(split)
    from multitune.cli.watch import Watch
    from multitune.evaluation.comparison import compare_folder
    from multitune.evaluation.external import RemoteOptions
    from multitune.inference.budget import Caps, Prices
    from multitune.inference.openai_client import RetryPolicy

    console = open_console(stderr=as_json)
    remote = RemoteOptions(
        api_base,
        key_env,
        Prices(*_prices(price)) if price else None,
        Caps(max_tokens_total, max_cost),
        max_tokens,
        dict(_parameter(text) for text in parameter or ()),
        RetryPolicy(concurrency, timeout=timeout),
        lambda estimate: _consents(estimate, yes, console),
    )
    with Watch(console) as watch:
        found = compare_folder(run, whom, adapter=adapter, split=split, limit=limit, remote=remote, observe=watch)
    if as_json:
        print_json(found)
    else:
        from multitune.cli.show import show_comparison

        show_comparison(found, run, results())


def _prices(text: str) -> tuple[float, float]:
    try:
        prompt, answer = (float(part) for part in text.split(","))
        if 0 <= prompt < float("inf") and 0 <= answer < float("inf"):
            return prompt, answer
    except ValueError:
        pass
    raise ConfigError(f"--price {text}: write two numbers, for a million prompt and answer tokens, such as 0.15,0.60")


def _parameter(text: str) -> tuple[str, Any]:
    from multitune.config.text import read_yaml

    name, equals, value = text.partition("=")
    if not equals or not name.strip() or name.strip() in ("model", "messages", "stream", "n"):
        raise ConfigError(f"--parameter {text}: write NAME=VALUE, such as seed=1; not of model, messages, stream or n")
    return name.strip(), read_yaml(value, f"--parameter {text}")


def _consents(estimate: "Estimate", yes: bool, console: "Console") -> bool:
    from rich.text import Text

    from multitune.core.errors import InputError

    for line in estimate_lines(estimate):
        console.print(Text(line), soft_wrap=True)
    if yes:
        return True
    if not console.is_terminal:
        raise InputError("nothing was sent: there is no terminal to ask on. Read the estimate above and give --yes")
    return typer.confirm("Send them?", err=True)


def estimate_lines(estimate: "Estimate") -> list[str]:
    """What will be sent, before it is."""
    new = estimate.questions - estimate.stored
    stored = f", {estimate.stored:,} were answered before" if estimate.stored else ""
    lines = [
        f"{estimate.model} at {estimate.api_base}: {new:,} requests{stored}",
        f"about {estimate.prompt_tokens:,} prompt tokens, at most {estimate.most_answer_tokens:,} answer tokens",
    ]
    if estimate.most_cost is None:
        return [*lines, "what that costs is not known here; give --price IN,OUT per million tokens"]
    return [*lines, f"at most about {estimate.most_cost:.4f} in the currency of --price"]
