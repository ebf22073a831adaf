"""The table of `verify`: a target against the record of its run, task by task."""

from multitune.core.results.verification import Verification
from multitune.reporting.blocks import Cell, Table, header, number
from multitune.reporting.formatting import count, score

VERIFIED_NOTE = (
    "same: answers that are those of the record; like base: answers that are those of the base; |Δloss|: of the right "
    "answers, in nats per token, to the record; base |Δloss|: how far the base is from the record"
)


def verification_table(found: Verification) -> Table:
    """A row per task."""
    rows = [
        [
            Cell(one.task),
            number(one.rows, count),
            number(one.same, count),
            number(one.like_base, count),
            *(number(value, score, 4) for value in (one.mean_loss, one.max_loss, one.base_loss)),
        ]
        for one in found.tasks
    ]
    numbers = ["rows", "same", "like base", "mean |Δloss|", "max |Δloss|", "base |Δloss|"]
    return Table("verification", f"{found.target} against {found.adapter}", header("task", numbers), rows)
