"""`tune`: its options, and the table of trials that it ends with."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from multitune.config.schema import RunConfig
    from multitune.core.events import Observe


class Objective(StrEnum):
    """What a trial is judged by."""

    LOSS = "loss"
    METRIC = "metric"


@dataclass(frozen=True)
class TuneFlags:
    """What `tune` takes besides the run file."""

    trials: Annotated[int, typer.Option(min=1, help="In all; those of earlier calls count.")]
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Most minutes of this call; the same command goes on.")
    ] = None
    objective: Annotated[
        Objective, typer.Option(help="On validation rows: loss relative to the start, or the mean metric.")
    ] = Objective.LOSS
    range: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=LOW,HIGH", help="Another range than the usual one; FIELD=VALUE fixes it."),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over where a search was begun.")] = False


def tune_run(config: "RunConfig", flags: TuneFlags, observe: "Observe") -> dict[str, Any]:
    """Search the settings of a run.

    Raises:
        MultituneError: see `tuning.tune.tune`.
    """
    from multitune.tuning.tune import TuneOptions, tune

    ranges = tuple(flags.range or ())
    return tune(
        config,
        TuneOptions(flags.trials, flags.minutes, flags.objective.value, ranges, flags.overwrite, observe),
    )


def show_trials(report: Mapping[str, Any], console: Console) -> None:
    """The trials (see tuning.tune), best first, what mattered, and how to train with the best."""
    from multitune.cli.show import add_numbers, new_table, say

    sign = -1.0 if report["objective"] == "metric" else 1.0
    order = {"complete": 0, "pruned": 1, "unfinished": 2, "failed": 3}
    trials = sorted(report["trials"], key=lambda row: (order[row["state"]], sign * (row["value"] or 0.0)))
    fields = list(trials[0]["values"]) if trials else []
    table = new_table()
    add_numbers(table, "trial", report["objective"], *(field.rpartition(".")[2] for field in fields))
    table.add_column("state")
    for row in trials:
        value = "–" if row["value"] is None else f"{row['value']:.4f}"
        numbers = ["–" if row["values"][field] is None else f"{row['values'][field]:g}" for field in fields]
        style = "bold" if row["number"] == report["best"] else ""
        table.add_row(str(row["number"]), value, *numbers, Text(row["state"]), style=style)
    say(console, "")
    console.print(table)
    about = (
        "mean metric over tasks at the chosen step"
        if report["objective"] == "metric"
        else f"validation loss relative to the start, {report['criterion']} over tasks"
    )
    say(
        console,
        f"{report['objective']}: {about}; trial 0 has the run file's own settings, moved into the ranges",
        "dim",
    )
    if report["importance"]:
        shares = ", ".join(f"{field} {share:.0%}" for field, share in report["importance"].items())
        say(console, f"what mattered (fANOVA over the trials that came to their end): {shares}")
    for row in trials:
        if row["note"]:
            say(console, f"trial {row['number']} failed: {row['note']}", "dim")
    say(console, "no trial looked at a test row; those are for the run you train now", "bold")
    if report["best"] is None:
        say(console, "no trial came to its end yet; the same command goes on")
    else:
        say(console, f"best settings: {Path(report['best_file'])}")
        say(console, f"train with them: {report['command']}")
