"""`tune`: its options, and the table of trials that it ends with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitune.cli.options import AsJson, Overrides, RunFile
from multitune.cli.output import hush, open_console, print_json, results
from multitune.core.errors import ConfigError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.core.results.study import TrialsReport

OBJECTIVES = ("loss", "metric")


def tune(
    file: RunFile,
    overrides: Overrides = None,
    *,
    trials: Annotated[int, typer.Option(min=1, help="In all; those of earlier calls count.")],
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Most minutes of this call; the same command goes on.")
    ] = None,
    objective: Annotated[
        str, typer.Option(metavar="loss|metric", help="On validation rows: loss relative to the start, or metric.")
    ] = "loss",
    range: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=LOW,HIGH", help="Another range than the usual one; FIELD=VALUE fixes it."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over where a search was begun.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search learning rate, rank, passes and mixture of a run, judged on validation rows alone (Optuna)."""
    hush()
    if objective not in OBJECTIVES:
        raise ConfigError(f"--objective {objective}: {suggest(objective, OBJECTIVES)}")
    from multitune.config.load import load_config

    config = load_config(file, overrides or ())
    from multitune.cli.watch import Watch
    from multitune.tuning.tune import TuneOptions
    from multitune.tuning.tune import tune as search

    with Watch(open_console(stderr=as_json)) as watch:
        judged = "metric" if objective == "metric" else "loss"
        report = search(config, TuneOptions(trials, minutes, judged, tuple(range or ()), overwrite, watch))
    print_json(report) if as_json else show_trials(report, results())


def show_trials(report: "TrialsReport", console: "Console") -> None:
    """The trials, best first, what mattered, and how to train with the best."""
    from multitune.cli.show import put, say
    from multitune.reporting.tables.study import trials_table

    say(console, "")
    put(console, trials_table(report))
    about = (
        "mean metric over tasks at the chosen step"
        if report.objective == "metric"
        else f"validation loss relative to the start, {report.criterion} over tasks"
    )
    say(
        console,
        f"{report.objective}: {about}; trial 0 has the run file's own settings, moved into the ranges",
        "dim",
    )
    if report.importance:
        shares = ", ".join(f"{field} {share:.0%}" for field, share in report.importance.items())
        say(console, f"what mattered (fANOVA over the trials that came to their end): {shares}")
    for trial in report.trials:
        if trial.note:
            say(console, f"trial {trial.number} failed: {trial.note}", "dim")
    say(console, "no trial looked at a test row; those are for the run you train now", "bold")
    if report.best is None:
        say(console, "no trial came to its end yet; the same command goes on")
    else:
        say(console, f"best settings: {Path(report.best_file)}")
        say(console, f"train with them: {report.command}")
