"""`init`: data files become a run file, every choice shown with its reason."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitune.cli.next_steps import say_next
from multitune.cli.options import AsJson
from multitune.cli.output import echo, hush, open_console, print_json, results
from multitune.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.core.results.proposal import Proposal
    from multitune.proposal.bases import Hardware
    from multitune.proposal.columns import Question

EACH = "of one set, as NAME=COLUMN; may be repeated."


def init(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…", help="Data files, or folders of them: JSON lines, JSON, CSV, TSV, Parquet, Excel."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The run file to write.")] = Path(
        "multitune.yaml"
    ),
    base: Annotated[str, typer.Option(help="Hub id, folder, .gguf file or a built-in alias.")] = "smollm2-135m",
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="NAME=COLUMN", help=f"The column to read {EACH}")
    ] = None,
    answer: Annotated[
        list[str] | None, typer.Option("--answer", metavar="NAME=COLUMN", help=f"The column to answer {EACH}")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; so it is where no terminal is there to ask.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Propose a run file for data files: tasks, prompts, labels, metrics, splits and sizes, each with its reason."""
    hush()
    from multitune.proposal.columns import Columns
    from multitune.proposal.propose import propose

    quiet = yes or as_json or not (sys.stdin.isatty() and sys.stdout.isatty())
    found = propose(
        files,
        output,
        base,
        _hardware,
        columns=Columns(_by_name(text or (), "--text"), _by_name(answer or (), "--answer")),
        ask=_nobody if quiet else _ask,
        overwrite=overwrite,
    )
    print_json(found) if as_json else show_proposal(found, results())
    say_next("init", found.file, first=found.install, quiet=as_json)


def _hardware() -> "Hardware":
    from multitune.model.device import memory_bytes, pick_device
    from multitune.proposal.bases import Hardware

    device = pick_device("auto")
    return Hardware(device.type != "cpu", memory_bytes(device))


def show_proposal(found: "Proposal", console: "Console") -> None:
    """Every choice with its reason, then warnings."""
    from multitune.cli.show import put, say
    from multitune.reporting.tables.proposal import choices_table

    put(console, choices_table(found))
    console.print()
    for line in found.warnings:
        say(console, f"warning: {line}", "yellow")
    count = len(found.tasks)
    echo(f"{found.file}: {count} {'task' if count == 1 else 'tasks'}: {', '.join(found.tasks)}")


def _by_name(given: Sequence[str], option: str) -> Mapping[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := ["".join(parts) for parts in pairs if not all(parts)]:
        raise InputError(f"{option} {wrong[0]}: give it as NAME=COLUMN, such as {option} mails=subject")
    return {name: column for name, _, column in pairs}


def _nobody(question: "Question") -> None:
    return None


def _ask(question: "Question") -> str | None:
    console = open_console(stderr=True)
    console.print(f"{question.of}: {question.asks}", markup=False)
    for number, option in enumerate(question.options, start=1):
        console.print(f"  {number}  {option}", markup=False, highlight=False)
    answer = typer.prompt("Number, or nothing to stop", default="", show_default=False, err=True).strip()
    if not answer.isdecimal() or not 1 <= int(answer) <= len(question.options):
        return answer if answer in question.options else None
    return question.options[int(answer) - 1]
