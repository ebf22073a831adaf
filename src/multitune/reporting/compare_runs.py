"""Runs against each other, task by task: on the same rows only, with intervals, or not at all."""

from collections.abc import Mapping, Sequence
from typing import Any

from multitune.core.errors import InputError, RunFolderError, suggest
from multitune.core.results.comparison import ComparedRun, ComparedRunsTask, RunComparison
from multitune.core.results.scores import Difference, TransferRow
from multitune.core.run_folder import RunFolder
from multitune.evaluation.stats import BootstrapPlan
from multitune.evaluation.transfer import Arms, compare
from multitune.reporting.answers import Answers, ScoredRun
from multitune.tasks.metrics import Metric


def compare_runs(folders: Sequence[RunFolder], tasks: Sequence[str] = (), adapter: str | None = None) -> RunComparison:
    """Each run against the first, on the tasks that all of them have.

    Args:
        folders: two runs or more, all evaluated.
        tasks: those to compare; all that they share when empty.
        adapter: whose answers count; in each run the one that the task ships with when None.

    Raises:
        InputError: fewer than two runs, no task in common, or an unknown task or adapter.
        RunFolderError: a run was not evaluated, or the runs answered different rows of a task.
    """
    if len(folders) < 2:
        raise InputError("runs compare: needs two runs or more")
    runs = [ScoredRun(folder) for folder in folders]
    known = [(str(run.folder.path), run.tasks) for run in runs]
    answers = {task: [run.answers(task, adapter) for run in runs] for task in shared_tasks(known, tasks)}
    return against_first(known, answers, runs[0].own.plan)


def shared_tasks(known: Sequence[tuple[str, Sequence[str]]], wanted: Sequence[str]) -> list[str]:
    """The tasks that all sides have, or those of them that are wanted.

    Args:
        known: each side and its tasks.
        wanted: all that they share when empty.

    Raises:
        InputError: there is none, or one that is wanted is not among them.
    """
    shared = [task for task in known[0][1] if all(task in tasks for _, tasks in known)]
    for task in wanted:
        if task not in shared:
            raise InputError(f"--task {task}: not a task of all that is compared. {suggest(task, shared)}")
    if not shared:
        listed = "; ".join(f"{side}: {', '.join(tasks)}" for side, tasks in known)
        raise InputError(f"no task in common ({listed}). Compare what answered the same tasks")
    return [task for task in shared if not wanted or task in wanted]


def against_first(
    known: Sequence[tuple[str, Sequence[str]]], answers: Mapping[str, Sequence[Answers]], plan: BootstrapPlan
) -> RunComparison:
    """Each side against the first.

    Args:
        known: each side and its tasks.
        answers: task -> those of each side.
        plan: resamples, confidence and seed.

    Raises:
        RunFolderError: the sides answered different rows of a task.
    """
    first, *others = (side for side, _ in known)
    for place, other in enumerate(others, start=1):
        require_same_rows(f"{first} and {other}", {task: (row[0], row[place]) for task, row in answers.items()})
    return RunComparison(
        runs=(first, *others),
        confidence=plan.confidence,
        resamples=plan.resamples,
        left_out=tuple(sorted({task for _, tasks in known for task in tasks} - set(answers))),
        tasks=compared(answers, plan),
    )


def require_same_rows(pair: str, answers: Mapping[str, tuple[Answers, Answers]]) -> None:
    """Refuse two runs that answered different rows of a task, or measure it differently.

    Args:
        pair: the two, for messages.
        answers: task -> those of each.

    Raises:
        RunFolderError: names the tasks, and how many rows are the same.
    """
    measured = [task for task, (a, b) in answers.items() if _measure(a.metric) != _measure(b.metric)]
    if measured:
        raise RunFolderError(
            f"{pair} measure {', '.join(measured)} differently (another metric or tolerance). Leave that out with "
            "--task, or evaluate one run with the metric of the other"
        )
    differing: list[str] = []
    for task, (a, b) in answers.items():
        rows_a, rows_b = ({row.id: row.gold for row in one.predictions} for one in (a, b))
        same = sum(rows_b[id_] == gold for id_, gold in rows_a.items() if id_ in rows_b)
        if a.split != b.split or not len(rows_a) == len(rows_b) == same:
            counts = f"{len(rows_a)} {a.split} and {len(rows_b)} {b.split} rows, {same} of them the same"
            differing.append(f"{task} ({counts})")
    if differing:
        raise RunFolderError(
            f"{pair} answered different rows, and scores on different rows do not compare: {', '.join(differing)}. "
            "Evaluate both on the same data with one --split and --limit (multitune eval), or leave tasks out with "
            "--task; rows without an `id` column are known by prompt and answer"
        )


def _measure(metric: Metric) -> tuple[str, Any]:
    """What makes two metrics the same: the name, and the tolerance that numbers are compared with."""
    return metric.name, getattr(metric.example, "keywords", None)


def compared(answers: Mapping[str, Sequence[Answers]], plan: BootstrapPlan) -> dict[str, ComparedRunsTask]:
    """Scores of each side, and its difference to the first; p is adjusted over the tasks of each pair.

    Args:
        answers: task -> those of each side, all to the same rows.
        plan: resamples, confidence and seed.
    """
    metrics = {task: arms[0].metric for task, arms in answers.items()}
    count = len(next(iter(answers.values())))
    against: list[dict[str, TransferRow]] = [{}]
    for place in range(1, count):
        arms = {task: Arms(row[0].predictions, row[place].predictions) for task, row in answers.items()}
        against.append({row.task: row for row in compare(arms, metrics, plan).tasks})
    found: dict[str, ComparedRunsTask] = {}
    for task, row in answers.items():
        runs = tuple(_compared_run(one, against[place].get(task), plan) for place, one in enumerate(row))
        head = row[0]
        found[task] = ComparedRunsTask(
            metric=head.metric.name, split=head.split, examples=len(head.predictions), runs=runs
        )
    return found


def _compared_run(one: Answers, row: TransferRow | None, plan: BootstrapPlan) -> ComparedRun:
    low, high = one.interval(plan)
    return ComparedRun(
        adapter=one.adapter,
        score=one.score,
        low=low,
        high=high,
        difference=Difference(difference=row.difference, low=row.low, high=row.high) if row else None,
        p_holm=row.p_holm if row else None,
        verdict=row.verdict if row else None,
    )
