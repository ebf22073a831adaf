"""The command line: one function per verb, each in a few lines."""

import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.models import CommandInfo, TyperInfo

from multitune.cli.audit import audit
from multitune.cli.compare import compare
from multitune.cli.compare_predictions import compare_predictions
from multitune.cli.evaluate import evaluate
from multitune.cli.export import export, verify
from multitune.cli.gate import gate
from multitune.cli.generate import generate
from multitune.cli.import_config import import_
from multitune.cli.init import init
from multitune.cli.measure import measure
from multitune.cli.next_steps import PURPOSES, be_quiet, say_next
from multitune.cli.options import AsJson, Overrides, Run, RunFile
from multitune.cli.output import echo, hush, log_to_stderr, open_console, print_json, results, write_own_report
from multitune.cli.runs import app as runs
from multitune.cli.serve import serve
from multitune.cli.study import study
from multitune.cli.tune import tune
from multitune.core.errors import InputError, MultituneError, StorageError
from multitune.core.limits import limit_met
from multitune.core.processes import rank

if TYPE_CHECKING:
    from multitune.config.schema import RunConfig

app = typer.Typer(
    name="multitune",
    help="Teach one language model several tasks at once, and see task by task what that gained or cost.",
    no_args_is_help=True,
    epilog="First run: multitune init FILES…; the last line of each command says what comes next.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(runs, name="runs")
app.command()(audit)
app.command(name="eval")(evaluate)
app.command()(measure)
app.command()(compare)
app.command()(compare_predictions)
app.command()(export)
app.command()(verify)
app.command()(gate)
app.command()(generate)
app.command(name="import")(import_)
app.command()(init)
app.command()(serve)
app.command()(study)
app.command()(tune)

HOST, PORT = "127.0.0.1", 8417  # of a live page


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also log to stderr what goes on: caches, retries, recoveries.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what to do next.")] = False,
) -> None:
    """Teach one language model several tasks at once, and see task by task what that gained or cost."""
    be_quiet(quiet)
    if verbose and not rank():
        log_to_stderr()


@app.command()
def train(
    file: RunFile,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over in a folder that holds a run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train the adapters of a run, evaluate them, and show what training together did."""
    hush()
    if rank():
        from multitune.training.member import work

        raise typer.Exit(work(lambda: _load(file, overrides)))
    config = _load_run(file, overrides)
    from multitune.cli.watch import Watch
    from multitune.functions import train as train_run

    with Watch(open_console(stderr=as_json)) as watch:
        run = train_run(config, resume=resume, overwrite=overwrite, observe=watch)
    if as_json:
        print_json(run.scores, run=str(run.path))
    else:
        from multitune.cli.show import show_robustness, show_routing, show_scores

        show_scores(run.scores, run.path, results())
        if routing := run.routing:
            show_routing(routing, run.path, results())
        if robustness := run.robustness:
            show_robustness(robustness, run.path, results())
    write_own_report(run.path, as_json)
    say_next("train", run.path, quiet=as_json)


@app.command()
def check(file: RunFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show what a run would do, without loading the weights: data, mixture, steps, memory and time."""
    hush()
    config = _load_run(file, overrides)
    from multitune.cli.show import show_check
    from multitune.cli.watch import reading
    from multitune.planning import check_run

    with reading(open_console(stderr=True)) as progress:
        report = check_run(config, progress)
    print_json(report) if as_json else show_check(report, results())
    say_next("check", file, quiet=as_json)


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

    echo(f"report: {write_report(runs, output)}")
    if len(runs) == 1:
        say_next("report", runs[0])


@app.command()
def select(run: Run, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Choose the adapter each task ships with, by validation, and fit the router that finds it by content."""
    hush()
    from multitune.cli.show import show_routing
    from multitune.cli.watch import Watch
    from multitune.pipeline import select_folder

    with Watch(open_console(stderr=as_json)) as watch:
        found = select_folder(run, watch, tuple(overrides or ()))
    print_json(found) if as_json else show_routing(found, run, results())
    write_own_report(run, as_json)
    say_next("select", run, quiet=as_json)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A run file with the one task that is new.")],
    to: Annotated[Path, typer.Option(metavar="RUN", help="The run that it joins.")],
    alone: Annotated[bool, typer.Option("--alone", help="Learn from the base, not on top of the shared one.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over a task that was begun before.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train one adapter for a new task and route to it; nothing that was there before changes."""
    hush()
    config = _load(file, overrides)
    from multitune.cli.show import show_change
    from multitune.cli.watch import Watch
    from multitune.core.run_folder import RunFolder
    from multitune.deployment.extend import add_task

    with Watch(open_console(stderr=as_json)) as watch:
        change = add_task(RunFolder(to), config, alone=alone, overwrite=overwrite, observe=watch)
    print_json(change) if as_json else show_change(change, to, results())
    say_next("add", to, quiet=as_json)


@app.command()
def remove(
    task: Annotated[str, typer.Argument(help="Name of the task.")],
    from_: Annotated[Path, typer.Option("--from", metavar="RUN", help="The run that it leaves.")],
    as_json: AsJson = False,
) -> None:
    """Route to a task no more; one that joined later is deleted, what was trained together stays on disk."""
    hush()
    from multitune.cli.show import show_change
    from multitune.core.run_folder import RunFolder
    from multitune.deployment.extend import remove_task

    change = remove_task(RunFolder(from_), task)
    print_json(change) if as_json else show_change(change, from_, results())
    say_next("remove", from_, quiet=as_json)


@app.command()
def watch(
    run: Run,
    once: Annotated[bool, typer.Option("--once", help="Show the present state and end.")] = False,
    browser: Annotated[bool, typer.Option("--browser", help="Serve a live page instead.")] = False,
    host: Annotated[str, typer.Option(help="Address of the page; the default answers this machine alone.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any that is free.")] = PORT,
) -> None:
    """Follow a run that goes on elsewhere until it has ended, also when it is stopped and resumed meanwhile."""
    hush()
    from multitune.cli.live import serve_report, watch_run

    if browser and once:
        raise InputError("--once: ends at once, and --browser follows the run. Leave out one of them")
    if browser:
        serve_report(run, host, port)
    else:
        watch_run(run, results(), once)


@app.command()
def schema() -> None:
    """Print the JSON schema of a run file, for editors."""
    from multitune.config.load import config_schema

    print_json(config_schema())


@app.command()
def version() -> None:
    """Print the version."""
    from multitune import __version__

    echo(__version__)


def _arrange() -> None:
    """Help lists the verbs by purpose, in the order of a first run."""
    for heading, verbs in PURPOSES.items():
        for one in (*app.registered_commands, *app.registered_groups):
            if _name(one) in verbs:
                one.rich_help_panel = heading
    order = [verb for verbs in PURPOSES.values() for verb in verbs]
    app.registered_commands.sort(key=lambda one: order.index(_name(one)))


def _name(one: CommandInfo | TyperInfo) -> str:
    return one.name or getattr(one.callback, "__name__", "").replace("_", "-")


_arrange()


def run() -> None:
    """Entry point of the console script: exit code 0 done, 1 failed, 2 the input is wrong, 130 stopped."""
    try:
        app()
    except StorageError as error:
        sys.exit(_failed(str(error)))
    except MultituneError as error:
        if limit := limit_met(error):  # of which it is a consequence
            sys.exit(_failed(f"{limit}; what was saved is intact. It was met at: {error}"))
        sys.exit(_failed(str(error), error.exit_code))
    except RecursionError:
        sys.exit(_failed("met values that are nested too deeply. What was saved is intact; use flatter inputs"))
    except Exception as error:
        if limit := limit_met(error):
            sys.exit(_failed(f"{limit}; what was saved is intact"))
        traceback.print_exc()  # our own bug: keep all that helps to find it
        report = "Please report it with the lines above and your run file"
        sys.exit(_failed(f"this is a fault of multitune itself. {report}"))


def _failed(message: str, code: int = 1) -> int:
    with suppress(OSError):  # a log on the disk that is full: the exit code is what remains to say it with
        echo(f"multitune: {message}", err=True)
    return code


def _load_run(file: Path, overrides: Sequence[str] | None) -> "RunConfig":
    """A run file whose base is there: what is missing is said before torch is loaded."""
    from multitune.core.bases import resolve_base

    config = _load(file, overrides)
    resolve_base(config.base)
    return config


def _load(file: Path, overrides: Sequence[str] | None) -> "RunConfig":
    from multitune.config.load import load_config  # here, so that `--help` need not wait for pydantic

    return load_config(file, overrides or ())


if __name__ == "__main__":
    run()
