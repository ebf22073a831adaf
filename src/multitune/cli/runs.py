"""`multitune runs`: runs listed, compared on the same rows, exported for readers and programs, and removed."""

import io
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from multitune.cli.output import hush, print_json, results
from multitune.core.errors import InputError
from multitune.core.files import read_json, write_text
from multitune.core.run_folder import RunFolder

if TYPE_CHECKING:
    from multitune.reporting.runs import RunSummary

app = typer.Typer(help="List runs, compare them, export them for readers, remove them.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `train` made.")]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]
WIDTH = 120  # of tables in a file


class Form(StrEnum):
    """What a run is exported as."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    CARD = "card"


@app.command(name="list")
def list_(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the runs, or one run.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show the runs in a folder: state, date, tasks, verdicts, size, and what is missing."""
    from multitune.reporting.runs import list_runs

    runs = list_runs(folder)
    if as_json:
        print_json([_plain_summary(run) for run in runs])
    else:
        show_runs(runs, folder, results())


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
    from multitune.reporting.compare_runs import compare_runs

    found = compare_runs([RunFolder(run) for run in runs], task or (), adapter)
    print_json(found) if as_json else show_comparison(found, results())


@app.command()
def remove(run: Run, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a run folder for good; one that is being trained, or holds other files, is refused."""
    from multitune.reporting.forms import plain
    from multitune.reporting.runs import folder_size, remove_run, require_removable

    folder = RunFolder(run)
    require_removable(folder)
    size = folder_size(run)
    if not yes and not typer.confirm(f"Delete {plain(run)} ({megabytes(size)}) for good?"):
        typer.echo("nothing was deleted")
        raise typer.Exit(1)
    remove_run(folder)
    typer.echo(f"deleted {plain(run)}, {megabytes(size)}")


@app.command()
def export(
    run: Run,
    form: Annotated[Form, typer.Option("--as", help="card: a README.md for a model hub.")] = Form.TABLE,
    adapter: Annotated[
        str | None, typer.Option(help="Adapter that a card is about; the shared one if absent.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="File instead of stdout.")
    ] = None,
) -> None:
    """Write what a run found: as tables, JSON, Markdown for a pull request, or a model card."""
    hush()
    if adapter is not None and form is not Form.CARD:
        raise InputError(f"--adapter {adapter}: only a card is about one adapter. Add --as card")
    if output is not None and output.is_dir():
        raise InputError(f"-o {output}: a folder. Name a file in it")
    text = exported(RunFolder(run).require(), form, adapter)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
        typer.echo(f"{run} as {form.value}: {output}")


def exported(folder: RunFolder, form: Form, adapter: str | None = None) -> str:
    """A run in one of the forms.

    Raises:
        InputError: the run was not evaluated, is damaged, or has no such adapter.
    """
    match form:
        case Form.TABLE:
            return _tables(folder)
        case Form.JSON:
            from json import dumps

            return dumps(run_record(folder), indent=2, ensure_ascii=False) + "\n"
        case Form.MARKDOWN:
            from multitune.reporting.markdown import run_markdown

            return run_markdown(folder)
        case Form.CARD:
            from multitune.reporting.card import model_card

            return model_card(folder, adapter)


def run_record(folder: RunFolder) -> dict[str, Any]:
    """All that a run's JSON files say, in one: summary, run file, versions, data, selection, scores, routing table."""
    from multitune.config.text import read_text, read_yaml
    from multitune.reporting.forms import read_data, read_scores, read_table, read_versions
    from multitune.reporting.runs import summarise

    scores = read_scores(folder)
    return {
        **_plain_summary(summarise(folder)),
        "config": read_yaml(read_text(folder.config), str(folder.config)),
        "versions": read_versions(folder),
        "data": read_data(folder),
        "selection": read_json(folder.selection),
        "scores": scores,
        "routing": read_table(folder),
    }


def _tables(folder: RunFolder) -> str:
    """What `train` ends with."""
    from multitune.cli.ship import show_routing
    from multitune.cli.show import show_scores
    from multitune.reporting.forms import read_router_report, read_scores, read_table

    file = io.StringIO()
    console = Console(file=file, width=WIDTH)
    show_scores(read_scores(folder), folder.path, console)
    table = read_table(folder)
    if table is not None:
        report = read_router_report(folder)
        if "tasks" in report:  # after a change of the tasks, only the change was measured
            version = folder.routing_versions[-1].name
            show_routing({"version": version, "table": table, "report": report}, folder.path, console)
    return file.getvalue().lstrip("\n")


def _plain_summary(run: "RunSummary") -> dict[str, Any]:
    return {
        "path": str(run.path),
        "name": run.name,
        "state": run.state,
        "changed": run.changed.astimezone().isoformat(timespec="seconds"),
        "tasks": list(run.tasks),
        "base": run.base,
        "verdicts": None if run.verdicts is None else dict(run.verdicts),
        "bytes": run.size,
        "missing": list(run.missing),
    }


def show_runs(runs: list["RunSummary"], folder: Path, console: Console) -> None:
    """A line per run, and below what is missing of each."""
    from multitune.cli.show import add_numbers, new_table, say
    from multitune.reporting.forms import plain

    if not runs:
        say(console, f"no runs in {plain(folder)}. `multitune train FILE` makes one")
        return
    table = new_table("run", "state", "changed")
    table.add_column("tasks", ratio=1)
    table.add_column("base")
    table.add_column("verdicts")
    add_numbers(table, "size")
    colours = {"finished": "green", "running": "cyan", "stopped": "yellow", "damaged": "red"}
    for run in runs:
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in (run.verdicts or {}).items())
        state = Text(run.state, style=colours[run.state])
        names = Text(plain(run.path.name)), state, f"{run.changed:%Y-%m-%d %H:%M}"
        table.add_row(*names, Text(", ".join(run.tasks)), Text(run.base), verdicts or "–", megabytes(run.size))
    console.print(table)
    for run in runs:
        for line in run.missing:
            say(console, f"{plain(run.path.name)}: {line}", "yellow")


def show_comparison(found: Mapping[str, Any], console: Console) -> None:
    """A line per task and run: the score with its interval, and the difference to the first run with its verdict."""
    from multitune.cli.show import COLOURS, add_numbers, new_table, say, span
    from multitune.reporting.forms import plain

    table = new_table("task", "run", "adapter")
    add_numbers(table, "score", "difference")
    table.add_column("verdict", no_wrap=True)
    names = _short_names(found["runs"])
    for task, row in found["tasks"].items():
        heads = [task, f"{row['metric']}, n {row['examples']:,}", *[""] * len(names)]
        for head, name, one in zip(heads, names, row["runs"], strict=False):
            shown = Text(f"{one['score']:.3f} [{one['low']:.3f}, {one['high']:.3f}]")
            cells: tuple[Any, ...] = ("", "")
            if one["difference"]:
                verdict = one["difference"]["verdict"]
                told = str({"helped": "better", "hurt": "worse"}.get(verdict, verdict))
                cells = span(one["difference"]), Text(told, style=COLOURS[verdict])
            table.add_row(Text(head), Text(plain(name)), Text(one["adapter"]), shown, *cells)
    console.print(table)
    say(
        console,
        f"difference: to the first run, paired on the same rows; {found['confidence']:.0%} intervals from "
        f"{found['resamples']} resamples; a verdict also needs p, adjusted by Holm over the tasks",
        "dim",
    )
    if found["left_out"]:
        say(console, f"not in all runs, or left out: {', '.join(found['left_out'])}", "dim")


def _short_names(paths: list[str]) -> list[str]:
    """The folders' names; where two are alike, the paths."""
    names = [Path(path).resolve().name for path in paths]
    return names if len(set(names)) == len(names) else paths


def megabytes(size: int) -> str:
    """`0.4 MB`, `312 MB`, `1.2 GB`."""
    millions = size / 1e6
    return (
        f"{millions:.1f} MB" if millions < 10 else f"{millions:.0f} MB" if millions < 1000 else f"{size / 1e9:.1f} GB"
    )
