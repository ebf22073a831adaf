"""`gate`: whether a new run or model is worse than an old one, for CI: exit code 0, 1 or 3."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitune.cli.options import AsJson
from multitune.cli.output import echo, hush, print_json, results
from multitune.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.core.results.gate import Gate

STDOUT = "-"


def gate(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A run; or one exported, or the address of a server.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Likewise; one of the two is a run.")],
    margin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X|TASK=X",
            help="A loss of less than this counts as none; evaluate.margin of the new run if absent. May be repeated.",
        ),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Whose answers count; what each task ships with if absent.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be repeated.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on where NEW lacks tasks of OLD.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="As a server names it; the adapter's name if absent.")] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds the server's key.")
    ] = None,
    markdown: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Also as Markdown for a pull request; - prints only that.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a new run or model with an old one: exit code 0 no task is worse, 1 one is, 3 the rows cannot tell.

    Both answered the same rows; worse means a loss beyond the margin. Code 2 says that the two do not compare.
    """
    hush()
    if as_json and markdown == STDOUT:
        raise InputError("--markdown -: stdout is for --json. Name a file, or leave out one of them")
    if markdown and Path(markdown).is_dir():
        raise InputError(f"--markdown {markdown}: a folder. Name a file in it")
    margins = dict(map(_margin, margin or ()))
    from multitune.core.files import write_text
    from multitune.functions import gate as compare
    from multitune.reporting.markdown import gate_markdown

    found = compare(
        old,
        new,
        margin=margins,
        adapter=adapter,
        tasks=task or (),
        allow_missing=allow_missing,
        model=model,
        key_env=key_env,
    )
    if markdown and markdown != STDOUT:
        write_text(Path(markdown), gate_markdown(found))
    if as_json:
        print_json(found, verdict=found.verdict, exit_code=found.exit_code)
    elif markdown == STDOUT:
        echo(gate_markdown(found), end="")
    else:
        show_gate(found, results())
    raise typer.Exit(found.exit_code)


def _margin(text: str) -> tuple[str, float]:
    """The task, empty for all others, and its margin."""
    task, _, value = text.rpartition("=")
    try:
        return task, float(value)
    except ValueError:
        raise InputError(
            f"--margin {text}: write a number, or TASK and a number, such as 0.02 or tweets=0.05"
        ) from None


def show_gate(found: "Gate", console: "Console") -> None:
    """Task by task, and the verdict."""
    from multitune.cli.show import put, say
    from multitune.reporting.renderers import STYLES
    from multitune.reporting.tables.gate import GATE_TONES, gate_notes, gate_sentence, gate_table

    put(console, gate_table(found))
    for note in gate_notes(found):
        say(console, note, "dim")
    say(console, gate_sentence(found), STYLES[GATE_TONES[found.verdict]])
