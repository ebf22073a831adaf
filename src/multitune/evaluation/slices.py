"""Scores by the values of a column: which groups of test rows a task's adapter answers worse than the others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from multitune.core.bases import BASE
from multitune.core.errors import ConfigError, suggest
from multitune.core.multiplicity import holm
from multitune.core.results.robustness import SIDES, SliceGroup, Slices, TaskSlices, Tested
from multitune.core.results.scores import Difference
from multitune.core.text import printable
from multitune.evaluation.groups import Answers, gap, group_score, rows_of
from multitune.evaluation.resampling import corpus_score
from multitune.evaluation.stats import BootstrapPlan
from multitune.evaluation.transfer import side
from multitune.tasks.filters import is_missing
from multitune.tasks.metrics import METRICS, Metric
from multitune.tasks.row_templates import Row
from multitune.tasks.task import Task

LEAST_ROWS = 20  # of a group
MOST_GROUPS = 20  # of a task, the largest
MOST_NUMBERS = 10  # different ones in a column of groups
LONGEST = 40  # characters of a value that are shown
NOTHING = "(nothing)"  # the value of a row whose column is empty
# Means over classes depend on which labels a group holds, however well it is answered.
OF_CLASSES = ("balanced_accuracy", "macro_f1", "matthews")
Groups = Mapping[str, np.ndarray]  # value -> whether a row has it, bool (row,)


def column_groups(rows: Mapping[str, Sequence[Row]], columns: Sequence[str]) -> dict[str, dict[str, list[str] | str]]:
    """Column -> task -> the value of each row, or why the task has no groups by it.

    Args:
        rows: task -> its evaluated rows, with all columns.
        columns: of them.

    Raises:
        ConfigError: no task's rows can be grouped by a column; it says what is wrong with it.
    """
    names = {name for of_task in rows.values() for row in of_task for name in row}
    found: dict[str, dict[str, list[str] | str]] = {}
    for column in columns:
        found[column] = {
            task: _grouped([row.get(column) for row in of_task])
            if any(column in row for row in of_task)
            else f"its rows have no column {column!r}"
            for task, of_task in rows.items()
        }
    for column, by_task in found.items():
        if column not in names:
            raise ConfigError(f"evaluate.slices: no task has a column {column!r}. {suggest(column, sorted(names))}")
        if all(isinstance(one, str) for one in by_task.values()):
            why = dict.fromkeys(f"{task}: {one}" for task, one in by_task.items() if "no column" not in str(one))
            raise ConfigError(
                f"evaluate.slices: column {column!r} makes no groups of {LEAST_ROWS} rows or more ({'; '.join(why)}). "
                "Name one with a few values that many rows have"
            )
    return found


def _grouped(values: Sequence[Any]) -> list[str] | str:
    """The values as text; or why they make no groups."""
    numbers = {value for value in values if isinstance(value, int | float) and not isinstance(value, bool)}
    if len(numbers) > MOST_NUMBERS:
        return f"{len(numbers)} different numbers; write ranges such as 18-30 into a column of their own"
    texts = [NOTHING if is_missing(value) else printable(" ".join(str(value).split())) for value in values]
    texts = [text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for text in texts]
    counts = Counter(texts)
    if len(counts) == 1:
        return f"one value in all {len(texts)} rows"
    large = [value for value, rows in counts.items() if rows >= LEAST_ROWS and len(texts) - rows >= LEAST_ROWS]
    if not large:
        return f"{len(counts)} values in {len(texts)} rows, none in {LEAST_ROWS} of them beside {LEAST_ROWS} others"
    return texts


def group_metric(task: Task) -> Metric:
    """The metric by which groups of a task's rows are compared: its own, unless that is a mean over classes."""
    if task.metric.name not in OF_CLASSES:
        return task.metric
    return METRICS["accuracy" if task.kind == "classify" else "micro_f1"]


def measure_slices(
    column: str, values: Mapping[str, Sequence[str] | str], answers: Mapping[str, Answers], plan: BootstrapPlan
) -> Slices:
    """Every task by the values of a column, p adjusted over the groups of all tasks.

    Gaps are one family of tests and their changes against the base another: these are two questions.

    Args:
        column: its name.
        values: of `column_groups`.
        answers: task -> its answers, in the order of the values; with those of the base.
        plan: resamples, confidence and seed.
    """
    members = {task: _members(one) for task, one in values.items() if not isinstance(one, str)}
    tests = sum(1 if _are_halves(groups) else len(groups) for groups in members.values())
    found = {task: _measured(groups, answers[task], plan, tests) for task, groups in members.items()}
    for part in ("gap", "change"):
        found = _adjusted(found, part, members, plan)
    tasks = tuple(
        TaskSlices(
            task=task,
            adapter=answers[task].adapter,
            metric=answers[task].metric.name,
            seeds=len(answers[task].trainings),
            rows=len(values[task]),
            groups=tuple(groups),
            folded={v: rows for v, rows in Counter(values[task]).most_common() if v not in members[task]},
        )
        for task, groups in found.items()
    )
    left_out = {task: one for task, one in values.items() if isinstance(one, str)}
    return Slices(column=column, tasks=tasks, left_out=left_out)


def _members(values: Sequence[str]) -> Groups:
    """The largest groups, the largest first; the rows of all other values have none of their own."""
    counts = Counter(values)
    large = [v for v, rows in counts.most_common(MOST_GROUPS) if min(rows, len(values) - rows) >= LEAST_ROWS]
    texts = np.array(values)
    return {value: texts == value for value in large}


def _are_halves(groups: Groups) -> bool:
    """Whether there are two groups, each of which is all that the other is not: one test, not two."""
    return len(groups) == 2 and bool(np.logical_xor(*groups.values()).all())


def _measured(groups: Groups, answers: Answers, plan: BootstrapPlan, tests: int) -> list[SliceGroup]:
    found: list[SliceGroup] = []
    alone = replace(answers, base=None)
    for value, member in groups.items():
        assert answers.base, "groups are measured beside the base"
        if found and _are_halves(groups):
            gaps = _negative(found[0].gap), found[0].change and _negative(found[0].change)
        else:
            change = _tested(*gap(answers, member, plan, tests)) if answers.adapter != BASE else None
            gaps = _tested(*gap(alone, member, plan, tests)), change
        score = group_score(answers, member, plan)
        found.append(
            SliceGroup(
                value=value,
                rows=int(member.sum()),
                score=score.difference,
                low=score.low,
                high=score.high,
                base=corpus_score(answers.metric, rows_of(answers.base, member)),
                gap=gaps[0],
                change=gaps[1],
            )
        )
    return found


def _tested(difference: Difference, p: float) -> Tested:
    return Tested(**dict(difference), p=p, p_holm=p, verdict="cannot tell")


def _negative(one: Tested) -> Tested:
    return one.model_copy(update={"difference": -one.difference, "low": -one.high, "high": -one.low})


def _adjusted(
    found: Mapping[str, Sequence[SliceGroup]], part: str, members: Mapping[str, Groups], plan: BootstrapPlan
) -> dict[str, list[SliceGroup]]:
    """The groups with the p of their gaps, or of the changes of these, adjusted by Holm, and what follows."""
    p_values: dict[tuple[str, int], float] = {}
    for task, groups in found.items():
        for number, group in enumerate(groups[:1] if _are_halves(members[task]) else groups):
            if tested := getattr(group, part):
                p_values[task, number] = tested.p
    p_holm = holm(p_values)

    def decided(task: str, number: int, group: SliceGroup) -> SliceGroup:
        tested: Tested | None = getattr(group, part)
        if tested is None:
            return group
        p = p_holm.get((task, number), p_holm[task, 0])
        verdict = SIDES[side(tested, p, plan.confidence)]
        return group.model_copy(update={part: tested.model_copy(update={"p_holm": p, "verdict": verdict})})

    return {
        task: [decided(task, number, group) for number, group in enumerate(groups)] for task, groups in found.items()
    }
