"""The table of `init`: what was chosen for a run file, and why."""

from multitune.core.results.proposal import Proposal
from multitune.reporting.blocks import Cell, Table, header


def choices_table(found: Proposal) -> Table:
    """A row per choice: those of each task, then those of the run."""
    rows: list[list[Cell]] = []
    before = None
    for one in found.choices:
        of = one.of or "the run"
        rows.append(
            [Cell(of if of != before else ""), Cell(one.field), Cell(one.value), Cell(one.because, tone="quiet")]
        )
        before = of
    return Table("choices", "What was chosen, and why", header("for", "field", "value", "because"), rows)
