"""`gate`: a check for CI that a new run is no worse than the one in use."""

from pathlib import Path
from typing import Annotated

import typer

from multitune.cli.options import AsJson
from multitune.cli.output import echo, hush, print_json, results
from multitune.core.errors import InputError


def gate(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Run folder of what is in use.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Run folder of what is to replace it.")],
    margin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X|TASK=X",
            help="A loss of less counts as none, in the metric's unit; the new run's evaluate.margin if absent.",
        ),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Whose answers count; what each task ships with if absent.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out tasks that only one of the runs has.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a comment for a pull request.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs on the same rows: exit code 0 no task is worse beyond its margin, 1 one is, 3 cannot tell."""
    hush()
    from multitune.core.files import write_text
    from multitune.core.run_folder import RunFolder
    from multitune.reporting.gate import gate_runs
    from multitune.reporting.renderers import markdown_table, rich_table
    from multitune.reporting.tables.gate import gate_lines, gate_table

    found = gate_runs(
        RunFolder(old), RunFolder(new), margins_of(margin or []), adapter=adapter, allow_missing=allow_missing
    )
    table, (sentence, *notes) = gate_table(found), gate_lines(found)
    if markdown is not None:
        write_text(markdown, "\n\n".join([f"**{sentence}**", markdown_table(table), *notes]) + "\n")
    if as_json:
        print_json(found, outcome=found.outcome)
    else:
        results().print(rich_table(table))
        for line in (sentence, *notes):
            echo(line)
    raise typer.Exit(found.exit_code)


def margins_of(given: list[str]) -> dict[str, float]:
    """Task -> margin, `""` for all tasks.

    Raises:
        InputError: a margin is no number above 0.
    """
    found: dict[str, float] = {}
    for text in given:
        task, _, value = text.rpartition("=")
        try:
            found[task] = float(value)
        except ValueError:
            found[task] = 0.0
        if not 0.0 < found[task] <= 1.0:
            raise InputError(f"--margin {text}: write a number above 0 and at most 1, such as 0.02, or TASK=0.05")
    return found
