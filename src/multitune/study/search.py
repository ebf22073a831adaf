"""From trained arms to a recommendation: train combinations, the largest first, and choose by measurement."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from multitune.study.arms import Arm
from multitune.study.grouping import Grouping, best_grouping, relative_gains
from multitune.study.plan import Baselines, Combination, most_arms, require_budget
from multitune.study.runner import StudyRunner

Chosen = Literal["loss", "score"]  # what of an arm's validation scores decides


@dataclass(frozen=True, slots=True)
class Board:
    """Every combination of a study's tasks: row k of a table of values is k + 1 in binary, columns are the tasks."""

    tasks: Combination

    @property
    def members(self) -> np.ndarray:
        """Which tasks are in each combination, bool (combination, task)."""
        numbers = np.arange(1, 2 ** len(self.tasks), dtype=np.int64)
        return (numbers[:, None] >> np.arange(len(self.tasks))) & 1 > 0

    def row(self, tasks: Sequence[str]) -> int:
        """The row of a combination."""
        return sum(1 << i for i, task in enumerate(self.tasks) if task in tasks) - 1

    def combination(self, row: int) -> Combination:
        """The tasks of a row."""
        return tuple(task for i, task in enumerate(self.tasks) if (row + 1) >> i & 1)

    def empty(self) -> np.ndarray:
        """Values of nothing yet, float (combination, task), all NaN."""
        return np.full((2 ** len(self.tasks) - 1, len(self.tasks)), np.nan)

    def alone(self, values: np.ndarray) -> np.ndarray:
        """Of values by combination and task, those of each task alone, float (task,)."""
        return np.array([values[self.row((task,)), column] for column, task in enumerate(self.tasks)])

    def of_several(self, values: np.ndarray) -> np.ndarray:
        """Only values of combinations of several tasks; a task alone gains nothing over itself."""
        return np.where(self.members.sum(axis=1, keepdims=True) > 1, values, np.nan)


def measured_values(
    runner: StudyRunner, board: Board, base: Baselines, arms: Sequence[Arm], what: Chosen
) -> np.ndarray:
    """`loss` or `score` on validation, float (combination, task), NaN where none was measured.

    What was trained with several seeds stands at the mean over them; tasks alone, from which all gains are measured,
    were trained with every seed, since chance in one seed would bias them all.

    Args:
        runner: of the study.
        board: its combinations.
        base: its baselines.
        arms: of several tasks.
        what: loss or score.
    """
    values_at: dict[tuple[int, int], list[float]] = {}
    for arm in dict.fromkeys([*arms, *base.alone, *base.repeats]):
        by_task = runner.record(arm).validation
        for task in arm.tasks:
            values_at.setdefault((board.row(arm.tasks), board.tasks.index(task)), []).append(
                getattr(by_task[task], what)
            )
    found = board.empty()
    for place, values in values_at.items():
        found[place] = np.mean(values)
    return found


def gains_over_alone(
    runner: StudyRunner, board: Board, arms: Sequence[Arm], base: Baselines, what: Chosen
) -> np.ndarray:
    """Relative gain in loss, or points of the metric over 100, over each task alone; float (combination, task)."""
    values = measured_values(runner, board, base, arms, what)
    alone = board.alone(values)
    return relative_gains(values, alone) if what == "loss" else values - alone


def guided(runner: StudyRunner, board: Board, base: Baselines, known: Sequence[Arm]) -> list[Arm]:
    """Train combinations, the largest first, as far as the budget goes.

    Returns:
        Every arm of several tasks that was trained, those known before among them.
    """
    planner, budget = runner.planner, runner.planner.study.budget
    left, most = require_budget(planner), most_arms(planner)
    ends = time.monotonic() + 60 * budget.minutes if budget.minutes else float("inf")
    gains = gains_over_alone(runner, board, [base.together], base, chosen_by(runner))[board.row(board.tasks)]
    trained = list(dict.fromkeys([*known, base.together]))
    chosen: list[Arm] = []
    for groups in largest_first(board.tasks, dict(zip(board.tasks, gains, strict=True))):
        fitting = 0
        for arm in (arm for arm in map(planner.arm, groups) if arm not in trained):
            if len(chosen) == most or planner.tokens(arm) > left or time.monotonic() > ends:
                continue
            fitting += 1
            left -= planner.tokens(arm)
            chosen.append(arm)
            if budget.minutes:
                runner.train([arm])  # one by one, to keep to the time
        if not fitting:
            break
    runner.train([*trained, *chosen])
    return [*trained, *chosen]


def largest_first(tasks: Combination, gains: Mapping[str, float]) -> Iterator[list[Combination]]:
    """Combinations of several tasks but not of all, by size, the largest size first.

    How many rows a combination has is the one thing that predicted anything about it: no look at words, embeddings,
    gradients or merged adapters did better (docs/decisions/0050). Among combinations of one size, those come first
    that leave out what all together hurt.

    Args:
        tasks: of the study.
        gains: what each gained by all together over itself alone.
    """
    for size in range(len(tasks) - 1, 1, -1):
        yield sorted(combinations(tasks, size), key=lambda group: -sum(gains[task] for task in group))


def look_again(runner: StudyRunner, board: Board, base: Baselines, choice: Grouping) -> Grouping:
    """Choose once more, among what was chosen, all tasks together and each alone, by runs with the other seeds.

    The best of many runs with one seed is best partly by chance, and the more runs, the more so; the seeds that the
    proof needs in any case have chosen nothing yet. A study of one seed has no second look.
    """
    study = runner.planner.study
    if len(study.seeds) == 1:
        return choice
    groups = [board.tasks, *(board.combination(row) for row in choice.chosen)]
    arms = [runner.planner.arm(group, seed) for group in groups if len(group) > 1 for seed in study.seeds[1:]]
    runner.train(arms)
    return best_grouping(gains_over_alone(runner, board, arms, base, chosen_by(runner)), study.worth)


def chosen_by(runner: StudyRunner) -> Chosen:
    """The key of an arm's validation record that decides: loss or score."""
    return "loss" if runner.planner.study.choose_by == "loss" else "score"
