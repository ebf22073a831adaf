"""`multitune runs`: runs listed, compared on the same rows, exported for readers and programs, and removed."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitune.cli.options import AsJson, Run
from multitune.cli.output import echo, hush, open_console, print_json, results
from multitune.core.errors import InputError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.core.results.comparison import RunComparison
    from multitune.core.results.run import RunSummary
    from multitune.core.run_folder import RunFolder

app = typer.Typer(help="List runs, compare them, export them for readers, remove them.", no_args_is_help=True)

FORMS = ("table", "json", "markdown", "card")


@app.command(name="list")
def list_(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the runs, or one run.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show the runs in a folder: state, date, tasks, verdicts, size, and what is missing."""
    from multitune.reporting.runs import list_runs

    runs = list_runs(folder)
    print_json(runs) if as_json else show_runs(runs, folder, results())


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Run folders; the first is the reference.")],
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be repeated.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Whose answers count; what each task ships with if absent.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show per task how runs scored on the same rows; different rows are refused."""
    hush()
    from multitune.core.run_folder import RunFolder
    from multitune.reporting.compare_runs import compare_runs

    found = compare_runs([RunFolder(run) for run in runs], task or (), adapter)
    print_json(found) if as_json else show_run_comparison(found, results())


@app.command()
def remove(run: Run, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete the folder of a run, a study or a search; one in use, or with other files in it, is refused."""
    from multitune.core.text import printable
    from multitune.reporting.formatting import size
    from multitune.reporting.runs import folder_size, remove_run, require_removable

    require_removable(run)
    bytes_ = size(folder_size(run))
    if not yes and not typer.confirm(f"Delete {printable(run)} ({bytes_}) for good?"):
        echo("nothing was deleted")
        raise typer.Exit(1)
    remove_run(run)
    echo(f"deleted {printable(run)}, {bytes_}")


@app.command()
def export(
    run: Run,
    form: Annotated[
        str, typer.Option("--as", metavar="|".join(FORMS), help="card: a README.md for a model hub.")
    ] = "table",
    adapter: Annotated[
        str | None, typer.Option(help="Adapter that a card is about; the shared one if absent.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="File instead of stdout.")
    ] = None,
) -> None:
    """Write what a run found: as tables, JSON, Markdown for a pull request, or a model card."""
    hush()
    from multitune.core.files import write_text
    from multitune.core.run_folder import RunFolder

    if form not in FORMS:
        raise InputError(f"--as {form}: {suggest(form, FORMS)}")
    if adapter is not None and form != "card":
        raise InputError(f"--adapter {adapter}: only a card is about one adapter. Add --as card")
    if output is not None and output.is_dir():
        raise InputError(f"-o {output}: a folder. Name a file in it")
    text = exported(RunFolder(run).require(), form, adapter)
    if output is None:
        echo(text, end="")
    else:
        write_text(output, text)
        echo(f"{run} as {form}: {output}")


def exported(folder: "RunFolder", form: str, adapter: str | None = None) -> str:
    """A run in one of the forms.

    Raises:
        InputError: the run was not evaluated, is damaged, or has no such adapter.
    """
    if form == "json":
        from multitune.reporting.record import run_record

        return run_record(folder).model_dump_json(indent=2) + "\n"
    if form == "markdown":
        from multitune.reporting.markdown import run_markdown

        return run_markdown(folder)
    if form == "card":
        from multitune.reporting.card import model_card

        return model_card(folder, adapter)
    return _tables(folder)


def _tables(folder: "RunFolder") -> str:
    """What `train` ends with."""
    from multitune.cli.show import say, show_robustness, show_routing, show_scores
    from multitune.core.results.audit import Audit
    from multitune.core.results.robustness import Robustness
    from multitune.core.routing_versions import read_version
    from multitune.reporting.run_scores import read_run_scores
    from multitune.reporting.tables.audit import audit_lines

    file = io.StringIO()
    console = open_console(file=file)
    show_scores(read_run_scores(folder), folder.path, console)
    if routing := read_version(folder):
        show_routing(routing, folder.path, console)
    if robustness := Robustness.read_if_made(folder.robustness):
        show_robustness(robustness, folder.path, console)
    if audit := Audit.read_if_made(folder.audit):
        console.print()
        for line in audit_lines(audit):
            say(console, line)
    return file.getvalue().lstrip("\n")


def show_runs(runs: list["RunSummary"], folder: Path, console: "Console") -> None:
    """A line per run, and below what is missing of each."""
    from multitune.cli.show import put, say
    from multitune.core.text import printable
    from multitune.reporting.tables.runs import list_table

    if not runs:
        say(console, f"no runs in {printable(folder)}. `multitune train FILE` makes one")
        return
    put(console, list_table(runs))
    for run in runs:
        for line in run.missing:
            say(console, f"{printable(Path(run.path).name)}: {line}", "yellow")


def show_run_comparison(found: "RunComparison", console: "Console") -> None:
    """A line per task and run: the score with its interval, and the difference to the first run with its verdict."""
    from multitune.cli.show import put, say
    from multitune.reporting.tables.comparison import runs_note, runs_table

    put(console, runs_table(found))
    say(console, runs_note(found), "dim")
    if found.left_out:
        say(console, f"not in all runs, or left out: {', '.join(found.left_out)}", "dim")
