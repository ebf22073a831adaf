"""`eval`: a finished run scored again, on other rows beside its own evaluation, or compared with another model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitune.cli.next_steps import say_next
from multitune.cli.options import AsJson, Run
from multitune.cli.output import hush, open_console, print_json, results, write_own_report
from multitune.core.errors import ConfigError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.config.robustness import RobustnessConfig
    from multitune.evaluation.external import Estimate

PANEL = "Against another model"
MORE = "Beside the scores, on the run's own rows"
SPLITS = ("validation", "test")
CONCURRENCY, TIMEOUT = 8, 120.0


def evaluate(
    run: Run,
    *,
    split: Annotated[str | None, typer.Option(help="validation or test; the run's own when absent.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most rows per task.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the evaluation on other rows; made of --split and --limit when absent.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Scores by the values of a column of the rows; may be repeated.",
            rich_help_panel=MORE,
        ),
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Answers that change with swapped groups of people.", rich_help_panel=MORE)
    ] = False,
    perturb: Annotated[
        bool,
        typer.Option("--perturb", help="Scores on rows with typos, other case, more text.", rich_help_panel=MORE),
    ] = False,
    bias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUITE[=PATH]",
            help="crows_pairs, winobias or bbq against the base, from the hub or a path; may be repeated.",
            rich_help_panel=MORE,
        ),
    ] = None,
    secrets: Annotated[
        bool,
        typer.Option(
            "--secrets",
            help="Personal data and secrets of training answers that what ships completes.",
            rich_help_panel=MORE,
        ),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="WHOM",
            help="openai:MODEL (any OpenAI-compatible API), local:PATH_OR_HUB_ID or adapter:FOLDER.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Ours; what each task ships with when absent.", rich_help_panel=PANEL)
    ] = None,
    api_base: Annotated[
        str | None, typer.Option(metavar="URL", help="Such as http://localhost:8000/v1.", rich_help_panel=PANEL)
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable that holds the key; OPENAI_API_KEY if absent, for OpenAI's server alone.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="IN,OUT", help="Prices per million tokens.", rich_help_panel=PANEL)
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Most to pay for this comparison in all.", rich_help_panel=PANEL)
    ] = None,
    max_tokens_total: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of this comparison in all.", rich_help_panel=PANEL)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of an answer; by task when absent.", rich_help_panel=PANEL)
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of each request; null leaves one out.", rich_help_panel=PANEL),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.", rich_help_panel=PANEL)] = CONCURRENCY,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for an answer.", rich_help_panel=PANEL)
    ] = TIMEOUT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending.", rich_help_panel=PANEL)] = False,
    as_json: AsJson = False,
) -> None:
    """Score a finished run again, on another split or other numbers of rows; or compare it with another model."""
    hush()
    if split not in (None, *SPLITS):
        raise ConfigError(f"--split {split}: {suggest(split, SPLITS)}")
    from multitune.config.robustness import RobustnessConfig  # here, so that `--help` need not wait for pydantic

    suites = dict(map(_suite, bias or ()))
    wanted = RobustnessConfig.model_validate(
        {"slices": tuple(slices or ()), "flips": flips, "perturb": perturb, "bias": suites, "secrets": secrets}
    )
    if wanted.asks_anything:
        _measure(run, wanted, {"split": split, "limit": limit, "name": name, "against": against}, as_json=as_json)
        return
    given = {"adapter": adapter, "api-base": api_base, "price": price, "max-cost": max_cost}
    given |= {"max-tokens-total": max_tokens_total, "max-tokens": max_tokens, "parameter": parameter or None}
    given |= {"key-env": key_env, "yes": yes or None}
    given |= {"concurrency": concurrency if concurrency != CONCURRENCY else None}
    given |= {"timeout": timeout if timeout != TIMEOUT else None}
    console = open_console(stderr=as_json)
    if against is None:
        meaningless = [option for option, value in given.items() if value is not None]
        if meaningless:
            raise ConfigError(f"--{meaningless[0]}: means nothing without --against. Name a model to compare with")
        _again(run, split, limit, name, console, as_json=as_json)
        return
    if name is not None:
        raise ConfigError("--name: means nothing with --against. A comparison is named after the model")
    from multitune.cli.watch import Watch
    from multitune.evaluation.comparison import compare_folder
    from multitune.evaluation.external import RemoteOptions
    from multitune.inference.budget import Caps, Prices
    from multitune.inference.openai_client import RetryPolicy

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
        found = compare_folder(run, against, adapter=adapter, split=split, limit=limit, remote=remote, observe=watch)
    if as_json:
        print_json(found)
    else:
        from multitune.cli.show import show_comparison

        show_comparison(found, run, results())


def _suite(text: str) -> tuple[str, str | None]:
    """Of `NAME` or `NAME=PATH`."""
    from multitune.config.robustness import SUITES

    name, _, path = text.partition("=")
    if name not in SUITES:
        raise ConfigError(f"--bias {text}: {suggest(name, SUITES)}")
    return name, str(Path(path).expanduser().absolute()) if path else None


def _measure(run: Path, wanted: "RobustnessConfig", others: Mapping[str, object], *, as_json: bool) -> None:
    from multitune.cli.show import show_robustness
    from multitune.cli.watch import Watch
    from multitune.pipeline import measure_folder

    if other := next((option for option, value in others.items() if value is not None), None):
        raise ConfigError(f"--{other}: groups and changed rows are those of the run's own evaluation. Leave it out")
    with Watch(open_console(stderr=as_json)) as watch:
        found = measure_folder(run, wanted, watch)
    if as_json:
        print_json(found, run=str(run))
    else:
        show_robustness(found, run, results())
    write_own_report(run, as_json)
    say_next("eval", run, quiet=as_json)


def _again(
    run: Path, split: str | None, limit: int | None, name: str | None, console: "Console", *, as_json: bool
) -> None:
    from multitune.cli.show import show_rejections, show_scores
    from multitune.cli.watch import Watch
    from multitune.core.routing_versions import read_version
    from multitune.core.run_folder import RunFolder
    from multitune.pipeline import evaluate_folder
    from multitune.reporting.facts import attempt

    with Watch(console) as watch:
        scores, folder = evaluate_folder(run, watch, split=split, limit=limit, name=name)
    if as_json:
        print_json(scores, run=str(folder.path))
    else:
        show_scores(scores, folder.path, results())
        routing = attempt(lambda: read_version(RunFolder(run)), run, run, [], "")  # the report says what is damaged
        show_rejections(routing, results())
    write_own_report(run, as_json)
    say_next("eval", run, quiet=as_json)


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
