"""`eval --against`: the options, the question before money is spent, and the table of who is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from multitune.core.errors import ConfigError, InputError, suggest

if TYPE_CHECKING:
    from multitune.core.events import Observe
    from multitune.evaluation.external import Estimate, RemoteOptions

PANEL = "Against another model"
COLOURS = {"better": "bold green", "worse": "bold red", "cannot tell": "dim"}


@dataclass(frozen=True)
class AgainstFlags:
    """What `eval` takes besides, to compare a run with another model."""

    against: Annotated[
        str | None,
        typer.Option(
            metavar="WHOM",
            help="openai:MODEL (any OpenAI-compatible API), local:PATH_OR_HUB_ID or adapter:FOLDER.",
            rich_help_panel=PANEL,
        ),
    ] = None
    adapter: Annotated[
        str | None, typer.Option(help="Ours; what each task ships with when absent.", rich_help_panel=PANEL)
    ] = None
    api_base: Annotated[
        str | None, typer.Option(metavar="URL", help="Such as http://localhost:8000/v1.", rich_help_panel=PANEL)
    ] = None
    key_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable that holds the key.", rich_help_panel=PANEL)
    ] = "OPENAI_API_KEY"
    price: Annotated[
        str | None, typer.Option(metavar="IN,OUT", help="Prices per million tokens.", rich_help_panel=PANEL)
    ] = None
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Most to pay for this comparison in all.", rich_help_panel=PANEL)
    ] = None
    max_tokens_total: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of this comparison in all.", rich_help_panel=PANEL)
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of an answer; by task when absent.", rich_help_panel=PANEL)
    ] = None
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of each request; null leaves one out.", rich_help_panel=PANEL),
    ] = None
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.", rich_help_panel=PANEL)] = 8
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for an answer.", rich_help_panel=PANEL)] = 120
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending.", rich_help_panel=PANEL)] = False


def hold_against(
    run: Path, rows: tuple[str | None, int | None], flags: AgainstFlags, observe: "Observe", console: Console
) -> dict[str, Any]:
    """Compare a run with what `--against` names.

    Args:
        run: its folder.
        rows: the split, and the most rows per task.
        flags: the options.
        observe: sees what happens.
        console: where the question before sending is put.

    Raises:
        MultituneError: see `evaluation.comparison.compare_folder`.
    """
    from multitune.evaluation.comparison import AgainstOptions, compare_folder

    split, limit = rows
    if split not in (None, "validation", "test"):
        raise ConfigError(f"--split {split}: {suggest(split, ('validation', 'test'))}")
    options = AgainstOptions(flags.against or "", flags.adapter, split, limit, _remote(flags, console), observe)
    return compare_folder(run, options)


def require_against(flags: AgainstFlags) -> None:
    """Refuse options that mean nothing without `--against`.

    Raises:
        ConfigError: there is one.
    """
    absent = AgainstFlags()
    for name in vars(absent):
        if flags.against is None and getattr(flags, name) not in (getattr(absent, name), []):
            raise ConfigError(
                f"--{name.replace('_', '-')}: means nothing without --against. Name a model to compare with"
            )


def _remote(flags: AgainstFlags, console: Console) -> "RemoteOptions":
    from multitune.evaluation.external import RemoteOptions
    from multitune.inference.budget import Caps, Prices
    from multitune.inference.remote import Patience

    prices = Prices(*_prices(flags.price)) if flags.price else None

    def ask(estimate: "Estimate") -> bool:
        return _consents(estimate, flags, console)

    return RemoteOptions(
        flags.api_base,
        flags.key_env,
        prices,
        Caps(flags.max_tokens_total, flags.max_cost),
        flags.max_tokens,
        dict(_parameter(text) for text in flags.parameter or ()),
        Patience(flags.concurrency, timeout=flags.timeout),
        ask,
    )


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


def _consents(estimate: "Estimate", flags: AgainstFlags, console: Console) -> bool:
    for line in estimate_lines(estimate):
        console.print(Text(line), soft_wrap=True)
    if flags.yes:
        return True
    if not console.is_terminal:
        raise InputError("nothing was sent: there is nobody to ask here. Read the estimate above and give --yes")
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


def show_against(record: Mapping[str, Any], folder: Path, console: Console) -> None:
    """The tables of a comparison (see evaluation.comparison), under both readings."""
    from multitune.cli.show import say

    say(console, "")
    for reading, about in (
        ("strict", "outputs read as the task says"),
        ("lenient", "outputs read for what they mean, of all alike"),
    ):
        say(console, f"{reading}: {about}", "bold")
        console.print(_table(record["readings"][reading]))
        say(console, "")
    say(
        console,
        f"difference: ours − theirs ({record['against']}); {record['confidence']:.0%} interval from "
        f"{record['resamples']} resamples of the {record['split']} rows; p adjusted by Holm; unread: answers that "
        "could not be read, ours / theirs",
        "dim",
    )
    say(console, f"ours: {_our_arms(record['ours'])}")
    if "api_base" in record:
        for line in usage_lines(record):
            say(console, line)
    say(console, f"comparison: {folder / 'comparisons' / record['subject']}.json")


def _our_arms(adapters: Mapping[str, str]) -> str:
    """Which adapter answered, once if it was the same for all tasks."""
    if len(set(adapters.values())) == 1:
        return next(iter(adapters.values()))
    return ", ".join(f"{task} by {adapter}" for task, adapter in adapters.items())


def _table(part: Mapping[str, Any]) -> Table:
    from multitune.cli.show import add_numbers, new_table, span

    table = new_table("task", "metric")
    add_numbers(table, "n", "theirs", "ours", "difference", "p", "unread")
    table.add_column("ours is", no_wrap=True)
    for row in part["tasks"]:
        unread = part["unread"][row["task"]]
        table.add_row(
            Text(row["task"]),
            row["metric"],
            f"{row['examples']:,}",
            f"{row['theirs']:.3f}",
            f"{row['ours']:.3f}",
            span(row),
            "<0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}",
            f"{unread['ours']}/{unread['theirs']}",
            Text(row["verdict"], style=COLOURS[row["verdict"]]),
        )
    return table


def usage_lines(record: Mapping[str, Any]) -> list[str]:
    """Tokens, money, and answers that their limit cut short."""
    cost = "" if record["cost"] is None else f", cost {record['cost']:.4f}"
    guessed = f"; {record['uncounted']:,} answers came without a count and are taken at their most"
    by = f", answered by {', '.join(record['answered_by'])}" if record["answered_by"] else ""
    lines = [
        f"{record['model']} at {record['api_base']}{by}: {record['prompt_tokens']:,} prompt tokens, "
        f"{record['answer_tokens']:,} answer tokens{cost}{guessed if record['uncounted'] else ''}"
    ]
    cut = [f"{task} {count}" for task, count in record["cut_short"].items() if count]
    if cut:
        lines.append(
            f"answers that reached their limit of tokens: {', '.join(cut)}. --max-tokens gives them more room"
        )
    return lines
