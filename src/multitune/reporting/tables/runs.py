"""The table of `runs list`."""

from collections.abc import Sequence
from pathlib import Path

from multitune.core.results.run import RunSummary, State
from multitune.reporting.blocks import Cell, Table, Tone, header, number
from multitune.reporting.formatting import size

TONES: dict[State, Tone] = {"finished": "helped", "running": "", "stopped": "unsure", "damaged": "hurt"}


def list_table(runs: Sequence[RunSummary]) -> Table:
    """A line per run, study or search."""
    rows: list[list[Cell]] = []
    for run in runs:
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in (run.verdicts or {}).items())
        state = run.state if run.kind == "run" else f"{run.kind}, {run.state}"
        cells = [Cell(Path(run.path).name), Cell(state, tone=TONES[run.state]), Cell(f"{run.changed:%Y-%m-%d %H:%M}")]
        cells += [Cell(", ".join(run.tasks)), Cell(run.base), Cell(verdicts or "–"), number(run.bytes, size)]
        rows.append(cells)
    columns = header("run", "state", "changed", "tasks", "base", "verdicts", ["size"])
    return Table("runs", "Runs, studies and searches", columns, rows)
