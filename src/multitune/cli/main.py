"""The command line: one function per verb, each in a few lines."""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from multitune.cli.against import AgainstFlags, hold_against, require_against, show_against
from multitune.cli.export import Form, export_adapter
from multitune.cli.options import spread
from multitune.cli.output import hush as _hush
from multitune.cli.output import print_json as _print_json
from multitune.cli.output import results as _results
from multitune.cli.runs import app as runs
from multitune.cli.study import StudyFlags, show_study, study_file
from multitune.cli.tune import TuneFlags, show_trials, tune_run
from multitune.core.errors import InputError, MultituneError
from multitune.core.files import read_json
from multitune.core.run_folder import RunFolder

if TYPE_CHECKING:
    from multitune.config.schema import RunConfig

app = typer.Typer(
    name="multitune",
    help="Teach one language model several tasks at once, and see task by task what that gained or cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(runs, name="runs")

RunFile = Annotated[Path, typer.Argument(metavar="FILE", help="The run file, in YAML.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `train` made.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as train.epochs=1; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout; progress goes to stderr.")]
HOST, PORT = "127.0.0.1", 8417  # of a live page


@app.command()
def train(
    file: RunFile,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over in a folder that holds a run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train the adapters of a run, evaluate them, and show what training together did."""
    _hush()
    config = _load(file, overrides)  # a fault in it is told before torch is loaded
    from multitune.cli.watch import Watch
    from multitune.pipeline import run_experiment

    with Watch(Console(stderr=as_json)) as watch:
        folder = run_experiment(config, resume, watch, overwrite)
    _show_scores(folder, read_json(folder.scores), as_json)
    if folder.routing_versions and not as_json:
        from multitune.cli.ship import show_routing
        from multitune.core.routing_versions import read_version

        show_routing(read_version(folder), folder.path, _results())
    _write_own_report(folder, as_json)


@app.command()
def check(file: RunFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show what a run would do, without loading the weights: data, mixture, steps, memory and time."""
    _hush()
    config = _load(file, overrides)
    from multitune.cli.recall import recalled
    from multitune.cli.show import show_check

    def make() -> dict[str, Any]:
        from multitune.cli.check import check_run
        from multitune.cli.watch import reading

        with reading(Console(stderr=True)) as progress:
            return check_run(config, progress)

    report = recalled(config, make)
    if as_json:
        _print_json(report)
    else:
        show_check(report, _results())


@app.command(name="eval")
@spread
def evaluate(
    run: Run,
    flags: AgainstFlags,
    split: Annotated[str | None, typer.Option(help="validation or test; the run's own when absent.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most rows per task.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a finished run again, on another split or other numbers of rows; or hold it against another model."""
    _hush()
    require_against(flags)
    if flags.against is not None:
        _against(run, (split, limit), flags, as_json)
        return
    from multitune.cli.watch import Watch
    from multitune.pipeline import evaluate_folder

    given = {"evaluate.split": split, "evaluate.limit": limit}
    overrides = tuple(f"{field}={value}" for field, value in given.items() if value is not None)
    with Watch(Console(stderr=as_json)) as watch:
        scores = evaluate_folder(run, watch, overrides)
    _show_scores(RunFolder(run), scores, as_json)
    _write_own_report(RunFolder(run), as_json)


def _against(run: Path, rows: tuple[str | None, int | None], flags: AgainstFlags, as_json: bool) -> None:
    from multitune.cli.watch import Watch

    console = Console(stderr=as_json)
    with Watch(console) as watch:
        record = hold_against(run, rows, flags, watch, console)
    _print_json(record) if as_json else show_against(record, run, _results())


@app.command()
@spread
def tune(file: RunFile, flags: TuneFlags, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Search learning rate, rank, passes and mixture of a run, judged on validation rows alone (Optuna)."""
    _hush()
    config = _load(file, overrides)
    from multitune.cli.watch import Watch

    with Watch(Console(stderr=as_json)) as watch:
        report = tune_run(config, flags, watch)
    _print_json(report) if as_json else show_trials(report, _results())


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of runs or studies.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The page; RUN/report.html when absent.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Follow one run in the browser while it goes.")] = False,
    host: Annotated[str, typer.Option(help="Address of the served page.")] = HOST,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the served page; 0 for any that is free.")
    ] = PORT,
) -> None:
    """Show runs or studies as one page for a browser: what helped, what hurt, what to ship, and how sure it is."""
    if serve:
        from multitune.cli.live import serve_report

        if len(runs) > 1:
            raise InputError("--serve: follows one run at a time. Name one, or leave out --serve")
        serve_report(runs[0], host, port)
        return
    from multitune.reporting.page import write_report

    typer.echo(f"report: {write_report(runs, output)}")


@app.command()
def select(run: Run, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Choose the adapter each task ships with, by validation, and fit the router that finds it by content."""
    _hush()
    from multitune.cli.ship import show_routing
    from multitune.cli.watch import Watch
    from multitune.pipeline import select_folder

    with Watch(Console(stderr=as_json)) as watch:
        found = select_folder(run, watch, tuple(overrides or ()))
    if as_json:
        _print_json(found)
    else:
        show_routing(found, run, _results())
    _write_own_report(RunFolder(run), as_json)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A run file with the one task that is new.")],
    to: Annotated[Path, typer.Option(metavar="RUN", help="The run that it joins.")],
    alone: Annotated[bool, typer.Option("--alone", help="Learn from the base, not on top of the shared one.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train one adapter for a new task and route to it; nothing that was there before changes."""
    _hush()
    config = _load(file, overrides)
    from multitune.cli.ship import show_change
    from multitune.cli.watch import Watch
    from multitune.deployment.extend import AddOptions, add_task

    with Watch(Console(stderr=as_json)) as watch:
        change = add_task(RunFolder(to), config, AddOptions(alone, watch))
    _print_json(change) if as_json else show_change(change, to, _results())


@app.command()
def remove(
    task: Annotated[str, typer.Argument(help="Name of the task.")],
    from_: Annotated[Path, typer.Option("--from", metavar="RUN", help="The run that it leaves.")],
    as_json: AsJson = False,
) -> None:
    """Route to a task no more; one that joined later is deleted, what was trained together stays on disk."""
    _hush()
    from multitune.cli.ship import show_change
    from multitune.deployment.extend import remove_task

    change = remove_task(RunFolder(from_), task)
    _print_json(change) if as_json else show_change(change, from_, _results())


@app.command()
@spread
def study(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study file, in YAML.")],
    flags: StudyFlags,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Find out which tasks belong together, at a part of the cost of training every combination."""
    _hush()
    found = study_file(file, overrides or (), flags, Console(stderr=as_json))
    _print_json(found) if as_json else show_study(found, _results())


@app.command()
def export(
    run: Run,
    adapter: Annotated[str, typer.Option(help="Name of the adapter, such as shared.")],
    to: Annotated[Path, typer.Option(help="Folder to make.")],
    form: Annotated[Form, typer.Option("--as", help="For PEFT and vLLM, llama.cpp, or a whole model.")] = Form.PEFT,
) -> None:
    """Copy an adapter out of a run, for PEFT and vLLM, for llama.cpp, or merged into its base."""
    _hush()
    advice = export_adapter(RunFolder(run), adapter, to, form)
    typer.echo(f"{adapter} as {form.value}: {to}")
    if advice:
        typer.echo(advice)


@app.command()
def watch(
    run: Run,
    once: Annotated[bool, typer.Option("--once", help="Show the present state and end.")] = False,
    browser: Annotated[bool, typer.Option("--browser", help="Serve a live page instead.")] = False,
    host: Annotated[str, typer.Option(help="Address of the page; the default answers this machine alone.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any that is free.")] = PORT,
) -> None:
    """Follow a run that goes on elsewhere until it has ended, also when it is stopped and resumed meanwhile."""
    _hush()
    from multitune.cli.live import serve_report, watch_run

    if browser and once:
        raise InputError("--once: a page goes on. Leave out --once or --browser")
    if browser:
        serve_report(run, host, port)
    else:
        watch_run(run, _results(), once)


@app.command()
def schema() -> None:
    """Print the JSON schema of a run file, for editors."""
    from multitune.config.load import config_schema

    _print_json(config_schema())


@app.command()
def version() -> None:
    """Print the version."""
    from multitune import __version__

    typer.echo(__version__)


def run() -> None:
    """Entry point of the console script: exit code 0 done, 1 failed, 2 the input is wrong, 130 stopped."""
    try:
        app()
    except MultituneError as error:
        print(f"multitune: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception:  # ours to mend: keep all that helps to find it
        traceback.print_exc()
        line = (
            "multitune: this is a fault of multitune itself. Please report it with the lines above and your run file"
        )
        print(line, file=sys.stderr)
        sys.exit(1)


def _load(file: Path, overrides: Sequence[str] | None) -> "RunConfig":
    from multitune.config.load import load_config  # here, so that `--help` need not wait for pydantic

    return load_config(file, overrides or ())


def _show_scores(folder: RunFolder, scores: Any, as_json: bool) -> None:
    from multitune.cli.show import show_scores

    if as_json:
        _print_json({"run": str(folder.path), **scores})
    else:
        show_scores(scores, folder.path, _results())


def _write_own_report(folder: RunFolder, as_json: bool) -> None:
    """The page of a run that was just finished or changed; it never spoils what was done."""
    from multitune.reporting.page import write_report

    try:
        line = f"report: {write_report([folder.path])}"
    except Exception as error:
        line = f"note: all is done, but the report could not be written: {error}"
    typer.echo(line, err=as_json)


if __name__ == "__main__":
    run()
