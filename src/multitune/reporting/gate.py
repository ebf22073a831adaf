"""A new run against an old one on the same rows, for CI, which asks whether any task is worse by more than its margin.

A task is *no worse* where its whole interval lies above −margin. That it holds for all tasks at once needs no
correction, since each must pass. A task is *worse* where its whole interval lies below −margin, at a level that is
divided by the number of tasks (Bonferroni), since one of them is enough to stop a change. All else cannot be told.
"""

from collections.abc import Mapping
from dataclasses import replace

from multitune.config.adapters import seed_name
from multitune.core.errors import InputError, RunFolderError, suggest
from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction
from multitune.core.results.gate import Gate, GatedTask, Outcome
from multitune.core.run_folder import RunFolder
from multitune.evaluation.transfer import Arms, compare_seeds
from multitune.reporting.answers import Answers, ScoredRun
from multitune.reporting.compare_runs import common_tasks, require_same_rows


def gate_runs(
    old: RunFolder,
    new: RunFolder,
    margins: Mapping[str, float] | None = None,
    *,
    adapter: str | None = None,
    allow_missing: bool = False,
) -> Gate:
    """Compare two runs, task by task.

    Args:
        old: what is in use.
        new: what is to replace it.
        margins: task -> margin, `""` for all others; the new run's `evaluate.margin` where none is given.
        adapter: whose answers count; what each task ships with when None.
        allow_missing: leave out tasks that only one of them has, instead of refusing.

    Raises:
        InputError: no task in common, a task that the new run lacks, or a margin for an unknown task.
        RunFolderError: a run was not evaluated, or they answered different rows.
    """
    runs = ScoredRun(old), ScoredRun(new)
    tasks = common_tasks(runs, ())
    gone = sorted({*runs[0].tasks, *runs[1].tasks} - set(tasks))
    if gone and not allow_missing:
        raise InputError(
            f"gate: only one of {old.path} and {new.path} has {', '.join(gone)}. Leave such tasks out with "
            "--allow-missing, or train the new run on them"
        )
    given = dict(margins or {})
    for task in given.keys() - {*tasks, ""}:
        raise InputError(f"--margin {task}=…: not a task of these runs. {suggest(task, tasks)}")
    answers = {task: (runs[0].answers(task, adapter), runs[1].answers(task, adapter)) for task in tasks}
    require_same_rows(*runs, answers)
    default = given.get("", runs[1].own.config.evaluate.margin)
    return Gate(
        old=str(old.path),
        new=str(new.path),
        split=runs[1].own.scores.split,
        confidence=runs[1].own.scores.confidence,
        tasks=_gated(runs, answers, {task: given.get(task, default) for task in tasks}),
        left_out=tuple(gone),
    )


def _gated(
    runs: tuple[ScoredRun, ScoredRun], answers: Mapping[str, tuple[Answers, Answers]], margins: Mapping[str, float]
) -> tuple[GatedTask, ...]:
    arms = {task: _arms(runs, task, pair) for task, pair in answers.items()}
    metrics = {task: new.metric for task, (_, new) in answers.items()}
    plan = runs[1].own.plan
    of_all = replace(plan, confidence=1.0 - (1.0 - plan.confidence) / len(arms))
    table, strict = (compare_seeds(arms, metrics, level).tasks for level in (plan, of_all))
    found: list[GatedTask] = []
    for row, one in zip(table, strict, strict=True):
        margin, (old, new) = margins[row.task], answers[row.task]
        outcome: Outcome = "no worse" if row.low > -margin else "worse" if one.high < -margin else "cannot tell"
        found.append(
            GatedTask(
                difference=row.difference,
                low=row.low,
                high=row.high,
                task=row.task,
                metric=row.metric,
                examples=row.examples,
                old_adapter=old.adapter,
                new_adapter=new.adapter,
                old=row.before,
                new=row.together,
                margin=margin,
                seeds=row.seeds,
                outcome=outcome,
            )
        )
    return tuple(found)


def _arms(runs: tuple[ScoredRun, ScoredRun], task: str, pair: tuple[Answers, Answers]) -> list[Arms]:
    """A pair of answers per seed, as many as both were trained with."""
    old, new = (_trainings(run, task, one) for run, one in zip(runs, pair, strict=True))
    return [Arms(a, b) for a, b in zip(old, new, strict=False)]


def _trainings(run: ScoredRun, task: str, first: Answers) -> list[list[Prediction]]:
    home = run.home(task)
    found = [first.predictions]
    for number in range(1, home.config.seeds):
        file = home.folder.predictions(seed_name(first.adapter, number), task, first.split)
        if not file.is_file():
            break  # the base has no further training
        further = read_predictions(file)
        if {row.id for row in further} != {row.id for row in first.predictions}:
            raise RunFolderError(f"{file}: holds other rows than the first training. Evaluate the run again")
        found.append(further)
    return found
