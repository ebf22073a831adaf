"""Scores by group, flips and scores on perturbed rows: in tables, and in sentences that say what to do."""

from collections.abc import Iterator, Mapping, Sequence

from multitune.core.results.robustness import Robustness, Side, SliceGroup, Slices, Tested
from multitune.reporting.blocks import Cell, Table, Tone, header, number
from multitune.reporting.formatting import chance, count, listed, score_interval, signed, span

SHOWN = 3  # folded values that are named


def tables(found: Robustness, *, id: str = "") -> Iterator[tuple[Table, list[str]]]:
    """Each table with the lines below it: how it is to be read, what it shows, and what is left out."""
    for one in found.slices:
        yield slices_table(one, id=id), slices_lines(one, found.confidence)


def slices_table(found: Slices, *, id: str = "") -> Table:
    """A row per group of rows, task by task."""
    rows = [
        [
            Cell(task.task),
            Cell(group.value),
            Cell(task.adapter, tone="quiet"),
            number(group.rows, count),
            number(group.base),
            Cell(score_interval(group.score, group.low, group.high), value=group.score),
            *_tested(group.gap, {"higher": "helped", "lower": "hurt"}),
            *_tested(group.change, {"higher": "helped", "lower": "hurt"}),
        ]
        for task in found.tasks
        for group in task.groups
    ]
    numbers = ["n", "base", "score", "gap", "p"], ["change of the gap", "p "]
    columns = header("task", found.column, "ships with", numbers[0], "against others", numbers[1], "against base")
    return Table(f"{id}slices-{found.column}", f"Scores by {found.column}", columns, rows)


def _tested(tested: Tested | None, tones: Mapping[Side, Tone]) -> list[Cell]:
    if tested is None:
        return [number(None), number(None), Cell("", tone="quiet")]
    tone = tones.get(tested.verdict, "unsure")
    return [
        Cell(span(tested), value=tested.difference),
        number(tested.p_holm, chance),
        Cell(tested.verdict, tone=tone),
    ]


def slices_lines(found: Slices, confidence: float) -> list[str]:
    """How the table is to be read, and what it shows."""
    seeds = max((task.seeds for task in found.tasks), default=1)
    over = f"the rows and {seeds} seeds" if seeds > 1 else "the rows"
    lines = [
        f"gap: score − the score on all other rows of the task; change: gap − the base's gap; {confidence:.0%} "
        f"intervals over {over}, p by permutation of the groups, adjusted by Holm over the table; in "
        "the place of means over classes, such as macro_f1, stands accuracy or micro_f1"
    ]
    lines += [
        f"{', '.join(tasks)}: by {metric}"
        for metric in dict.fromkeys(task.metric for task in found.tasks)
        if (tasks := [task.task for task in found.tasks if task.metric == metric])
    ]
    for task in found.tasks:
        worse = [group for group in task.groups if group.gap.verdict == "lower"]
        lines += [
            f"{task.task}: rows with {found.column} {group.value!r} score {signed(group.gap.difference)} against the "
            f"others{_widened(group.change)}. Add training rows like them, or correct the labels of those that there "
            "are"
            for group in worse
        ]
        lines += [
            f"{task.task}: training did less for rows with {found.column} {group.value!r} than for the others "
            f"({signed(group.change.difference)}). See how many training rows they have"
            for group in task.groups
            if group.change and group.change.verdict == "lower" and group.gap.difference < 0 and group not in worse
        ]
        if task.folded:
            named = listed([f"{value!r} ({rows})" for value, rows in task.folded.items()], SHOWN)
            lines.append(f"{task.task}: too few rows for a group of their own, and among the others: {named}")
    if found.tasks and not any(_named(task.groups) for task in found.tasks):
        lines.append(f"no group of {found.column} can be told from the others")
    return [*lines, *(f"{task}: not by {found.column}: {why}" for task, why in found.left_out.items())]


def _widened(change: Tested | None) -> str:
    if change is None or change.verdict == "cannot tell":
        return ""
    return ", a gap that training widened" if change.verdict == "lower" else ", a gap that training narrowed"


def _named(groups: Sequence[SliceGroup]) -> bool:
    tested = [one for group in groups for one in (group.gap, group.change) if one]
    return any(one.verdict != "cannot tell" for one in tested)
