"""From a study's arms to its findings: comparisons over seeds and rows, and who helps whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multitune.config.study import Alone
from multitune.core.records import Split
from multitune.core.results.scores import TransferRow, TransferTable
from multitune.core.results.study import (
    ArmRecord,
    Budget,
    Findings,
    Helps,
    Recommendation,
    StudyComparison,
    StudyRow,
    StudyTask,
    Synergy,
)
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.transfer import Arms, adjusted, compare_seeds
from multitune.study.arms import Arm
from multitune.study.grouping import Grouping
from multitune.study.plan import Baselines, Combination, serving
from multitune.study.runner import StudyRunner
from multitune.study.search import Board, chosen_by, gains_over_alone
from multitune.study.synergy import group_effects, helps, higher_order, mean_effects


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search ended with."""

    base: Baselines
    full: Sequence[Arm]  # of several tasks, trained in full with the first seed
    board: Board
    choice: Grouping

    @property
    def serves(self) -> dict[str, Combination]:
        """Task -> the combination that serves it."""
        return {task: self.group_of(task) for task in self.board.tasks}

    @property
    def groups(self) -> list[Combination]:
        """The recommended combinations."""
        return [self.board.combination(row) for row in self.choice.chosen]

    def group_of(self, task: str) -> Combination:
        """The combination that serves a task."""
        return self.board.combination(self.choice.serves[self.board.tasks.index(task)])


def gather(runner: StudyRunner, outcome: Outcome, longer: Mapping[str, Arm], split: Split) -> Findings:
    """The findings but for variants and cost; `longer` is of `longer_alone`, comparisons are on rows of `split`."""
    board, study = outcome.board, runner.planner.study
    loss_gains = gains_over_alone(runner, board, outcome.full, outcome.base, "loss")
    score_gains = 100 * gains_over_alone(runner, board, outcome.full, outcome.base, "score")
    by_mixture = _gains_by_mixture(board, score_gains)
    comparisons = _comparisons(runner, outcome, split)
    recommended = _recommended(runner, outcome, loss_gains, comparisons)
    return Findings(
        study=study.name,
        base=runner.prepared.config.base,
        split="validation",
        reported=split,
        choose_by=study.choose_by,
        confidence=runner.prepared.config.evaluate.confidence,
        sentence=_sentence(outcome, comparisons, study.alone),
        tasks={task: _task(runner, outcome, task) for task in board.tasks},
        arms=tuple(_arm(runner, outcome.base, arm) for arm in runner.asked.values() if arm.steps),
        recommended=recommended.model_copy(update={"longer_alone": {task: arm.steps for task, arm in longer.items()}}),
        comparisons=comparisons,
        helps=_helps(runner, outcome, by_mixture),
        synergy=Synergy(
            pairs=tuple(mean_effects(board.tasks, by_mixture)),
            higher=tuple(higher_order(board.tasks, by_mixture)),
            groups=tuple(group_effects(study.groups, by_mixture, runner.prepared.config.seed)),
        ),
    )


def compared(
    runner: StudyRunner, pairs: Mapping[str, Sequence[tuple[Arm, Arm]]], base: Baselines, split: Split
) -> StudyComparison:
    """A transfer table over seeds.

    Args:
        runner: the study's.
        pairs: task -> (alone, together) for each seed.
        base: the arms of the base, for the column beside.
        split: whose rows were answered.
    """
    table = _transfer(runner, pairs, base, split)
    rows = tuple(StudyRow(**dict(row), group=pairs[row.task][0][1].tasks) for row in table.tasks)
    return StudyComparison(tasks=rows, summary=table.summary, rows=split)


def _transfer(
    runner: StudyRunner, pairs: Mapping[str, Sequence[tuple[Arm, Arm]]], base: Baselines, split: Split
) -> TransferTable:
    bases = {arm.tasks[0]: arm for arm in base.base}
    arms = {
        task: [
            Arms(*(runner.predictions(arm, task, split) for arm in (*pair, bases[task])))  # alone, together, base
            for pair in both
        ]
        for task, both in pairs.items()
    }
    metrics = {task: runner.prepared.tasks[task].data.task.metric for task in arms}
    return compare_seeds(arms, metrics, bootstrap_plan(runner.prepared.config))


def _comparisons(runner: StudyRunner, outcome: Outcome, split: Split) -> dict[str, StudyComparison]:
    """What is recommended against each task alone at each budget, and all tasks together at equal passes."""
    planner, seeds = runner.planner, runner.planner.study.seeds
    served = {
        (task, seed): serving(planner, task, outcome.group_of(task), seed)
        for task in outcome.board.tasks
        for seed in seeds
    }
    found: dict[str, StudyComparison] = {}
    for budget in planner.study.alone:
        pairs = {
            task: [(planner.alone(task, budget, served[task, seed]), served[task, seed]) for seed in seeds]
            for task in outcome.board.tasks
        }
        found[f"recommended against {budget}"] = compared(runner, pairs, outcome.base, split)
    wholes = [planner.arm(planner.tasks, seed) for seed in seeds]
    pairs = {
        task: [(planner.alone(task, "equal_passes", whole), whole) for whole in wholes] for task in outcome.board.tasks
    }
    found["all together against equal_passes"] = compared(runner, pairs, outcome.base, split)
    return found


def _recommended(
    runner: StudyRunner, outcome: Outcome, gains: np.ndarray, comparisons: Mapping[str, StudyComparison]
) -> Recommendation:
    board, choice = outcome.board, outcome.choice
    table = comparisons[f"recommended against {runner.planner.study.alone[0]}"]
    rows = {row.task: row for row in table.tasks}
    served = [gains[choice.serves[i], i] for i in range(len(board.tasks))]
    again = ", and again with the seeds that the search did not use" if len(runner.planner.study.seeds) > 1 else ""
    return Recommendation(
        groups=tuple(outcome.groups),
        why=f"best mean gain on validation by {runner.planner.study.choose_by}{again}; one more adapter had to gain "
        f"{runner.planner.study.worth:.1%} over all tasks",
        measured_gain=float(np.mean(served)),
        tasks={task: rows[task] for task in board.tasks},
    )


def longer_alone(runner: StudyRunner, outcome: Outcome) -> dict[str, Arm]:
    """Tasks that validation finds better served alone, for as many steps as what serves them: task -> that arm.

    As any further adapter it must be worth it over all tasks.
    """
    planner, study = runner.planner, runner.planner.study
    if "equal_steps" not in study.alone:
        return {}
    what = chosen_by(runner)
    found: dict[str, Arm] = {}
    for task, group in outcome.serves.items():
        if group == (task,):
            continue
        served = [serving(planner, task, group, seed) for seed in study.seeds]
        alone = [planner.alone(task, "equal_steps", arm) for arm in served]
        before, after = (
            float(np.mean([getattr(runner.record(arm).validation[task], what) for arm in arms]))
            for arms in (served, alone)
        )
        gain = 1 - after / max(before, 1e-9) if what == "loss" else after - before
        if gain / len(outcome.board.tasks) >= study.worth:
            found[task] = alone[0]
    return found


def _sentence(outcome: Outcome, comparisons: Mapping[str, StudyComparison], budgets: Sequence[Alone]) -> str:
    """What to train, and what it does under each budget of training alone."""
    several = [group for group in outcome.groups if len(group) > 1]
    lead = f"Train in {len(outcome.groups)} groups"
    if not several:
        lead = "Train each task alone"
    elif several == [outcome.board.tasks]:
        lead = "Train all tasks together"
    parts: list[str] = []
    for budget in budgets:
        total = comparisons[f"recommended against {budget}"].summary
        moved = {word: tasks for word, tasks in total.verdicts.items() if tasks and word != "cannot tell"}
        sure = [f"{word} {', '.join(tasks)}" for word, tasks in moved.items()]
        parts.append(f"{total.points_text} at {budget.replace('_', ' ')} ({'; '.join(sure) or 'no task by itself'})")
    return f"{lead}: against each alone {' and '.join(parts)}."


def _task(runner: StudyRunner, outcome: Outcome, task: str) -> StudyTask:
    record = runner.record(next(arm for arm in outcome.base.base if arm.tasks == (task,)))
    scores = {"validation": record.validation.get(task), "test": record.test.get(task)}
    base = {split: one.score if one else None for split, one in scores.items()}
    return StudyTask(metric=runner.prepared.tasks[task].data.task.metric.name, base=base)


def _arm(runner: StudyRunner, base: Baselines, arm: Arm) -> ArmRecord:
    planner = runner.planner
    budget: Budget
    if len(arm.tasks) > 1:
        budget = "together"
    else:
        task = next(iter(arm.tasks))
        passes = planner.alone(task, "equal_passes", base.together).steps
        budget = "equal_passes" if arm.steps == passes else "equal_steps"
    return runner.record(arm).model_copy(update={"name": arm.name, "budget": budget})


def _helps(runner: StudyRunner, outcome: Outcome, gains: Mapping[Combination, Mapping[str, float]]) -> Helps:
    """The matrix of pairs, each with the interval of the rows it was chosen by, and p adjusted for all pairs."""
    tasks = outcome.board.tasks
    matrix = helps(tasks, gains)
    cells = [(i, j) for i in range(len(tasks)) for j in range(len(tasks)) if matrix[i][j] is not None]
    rows: list[TransferRow] = []
    for i, j in cells:
        arm = runner.planner.arm((tasks[i], tasks[j]))
        against = [(alone, arm) for alone in outcome.base.alone_on(tasks[i])]
        rows += _transfer(runner, {tasks[i]: against}, outcome.base, "validation").tasks
    judged = adjusted(rows, runner.prepared.config.evaluate.confidence)
    by_cell = dict(zip(cells, judged, strict=True))
    size = range(len(tasks))

    def table(value: Callable[[TransferRow], Any]) -> tuple[tuple[Any, ...], ...]:
        return tuple(tuple(value(by_cell[i, j]) if (i, j) in by_cell else None for j in size) for i in size)

    return Helps(
        tasks=tasks,
        points=tuple(map(tuple, matrix)),
        low=table(lambda row: 100 * row.low),
        high=table(lambda row: 100 * row.high),
        p_holm=table(lambda row: row.p_holm),
        verdict=table(lambda row: row.verdict),
    )


def _gains_by_mixture(board: Board, points: np.ndarray) -> dict[Combination, dict[str, float]]:
    found: dict[Combination, dict[str, float]] = {}
    for row in np.flatnonzero(~np.isnan(points).all(axis=1)):
        known = np.flatnonzero(~np.isnan(points[row]))
        found[board.combination(int(row))] = {board.tasks[i]: float(points[row, i]) for i in known}
    return found
