"""The table of `gate`: every task of a new run against an old one."""

from multitune.core.results.gate import Gate, Outcome
from multitune.core.results.scores import Verdict
from multitune.reporting.blocks import TONES, Cell, Table, header, number
from multitune.reporting.formatting import count, score, span

COLOURS: dict[Outcome, Verdict] = {"no worse": "helped", "worse": "hurt", "cannot tell": "cannot tell"}


def gate_table(found: Gate) -> Table:
    """A row per task."""
    rows: list[list[Cell]] = []
    for one in found.tasks:
        cells = [Cell(one.task), Cell(one.metric, tone="quiet"), number(one.examples, count), number(one.seeds, count)]
        cells += [number(one.old), number(one.new), Cell(span(one), value=one.difference), number(one.margin, score)]
        rows.append([*cells, Cell(one.outcome, tone=TONES[COLOURS[one.outcome]])])
    numbers = ["n", "seeds", "old", "new", "difference", "margin"]
    return Table("gate", "The new run against the old one", header("task", "metric", numbers, "new is"), rows)


def gate_lines(found: Gate) -> list[str]:
    """The outcome in one sentence, and how to read the table."""
    worse, unknown = ([one.task for one in found.tasks if one.outcome == word] for word in ("worse", "cannot tell"))
    sentence = {
        "no worse": "No task is worse beyond its margin.",
        "worse": f"Worse beyond the margin: {', '.join(worse)}.",
        "cannot tell": f"The rows cannot tell whether {', '.join(unknown)} got worse beyond the margin.",
    }[found.outcome]
    one_run = min(one.seeds for one in found.tasks) == 1
    chance = "test rows alone, so this holds for these two trainings" if one_run else "seeds of training and test rows"
    note = (
        f"difference: new − old on the same {found.split} rows, {found.confidence:.0%} interval over {chance}; no "
        "worse: the whole interval lies above −margin; worse: below it, at a level divided by the number of tasks"
    )
    left_out = [f"left out, as only one run has them: {', '.join(found.left_out)}"] if found.left_out else []
    return [sentence, note, *left_out]
