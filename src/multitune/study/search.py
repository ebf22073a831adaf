"""From trained arms to a recommendation: estimate all combinations, train the promising, choose by measurement."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from multitune.study.arms import Arm
from multitune.study.estimate import Landscape, all_members, estimate_losses, fit_damping, gradient_cosines, landscape
from multitune.study.grouping import Grouping, best_grouping, relative_gains
from multitune.study.overlap import embedding_similarity, mean_affinity, vocabulary_overlap
from multitune.study.plan import Baselines, Combination, require_budget
from multitune.study.runner import StudyRunner

Chosen = Literal["loss", "score"]  # what of an arm's validation scores decides
OVERLAP_ROWS = 48  # of each task, whose texts are compared
MOST_TASKS = 20  # whose combinations can all be estimated
FEW = 3  # combinations of each task that are worth a look
LEAST_SHORT = 3  # short runs that a budget must allow, else the estimates alone choose what to train in full


@dataclass(slots=True)
class Board:
    """What is known of every combination; rows follow `members`, columns the tasks."""

    tasks: Combination
    members: np.ndarray  # bool (combination, task)
    estimated: np.ndarray  # float (combination, task) estimated loss, NaN for tasks outside of it
    rungs: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])  # predictions of gain, cheapest first
    seconds: dict[str, float] = field(default_factory=dict[str, float])  # that each rung took

    def row(self, tasks: Sequence[str]) -> int:
        """The row of a combination."""
        return sum(1 << i for i, task in enumerate(self.tasks) if task in tasks) - 1

    def combination(self, row: int) -> Combination:
        """The tasks of a row."""
        return tuple(task for task, inside in zip(self.tasks, self.members[row], strict=True) if inside)

    def alone(self, values: np.ndarray) -> np.ndarray:
        """Of values by combination and task, those of each task alone, float (task,)."""
        return np.array([values[self.row((task,)), column] for column, task in enumerate(self.tasks)])

    def of_several(self, values: np.ndarray) -> np.ndarray:
        """Only values of combinations of several tasks; a task alone gains nothing over itself."""
        return np.where(self.members.sum(axis=1, keepdims=True) > 1, values, np.nan)


def survey(runner: StudyRunner, base: Baselines) -> Board:
    """The cheap rungs of the ladder: size, overlap, gradient cosines, and a first-order estimate of every combination.

    The mere number of rows is the floor: what does not beat it says nothing about which tasks belong together.
    """
    tasks = runner.planner.tasks
    members = all_members(len(tasks))
    board = Board(tasks, members, np.full(members.shape, np.nan))
    sizes = np.array([runner.planner.sizes[task].rows for task in tasks])
    board.rungs["rows in the mixture"] = board.of_several(np.where(members, (members @ sizes)[:, None], np.nan))
    started = time.monotonic()
    rows = {task: runner.rows(task, "train", OVERLAP_ROWS) for task in tasks}
    board.rungs["shared vocabulary"] = mean_affinity(vocabulary_overlap(rows), members)
    board.seconds["shared vocabulary"] = time.monotonic() - started
    started = time.monotonic()
    board.rungs["embeddings"] = mean_affinity(embedding_similarity(rows, runner.embedding_table()), members)
    board.seconds["embeddings"] = time.monotonic() - started
    train = runner.signatures(base.together, "train")
    board.rungs["gradient cosine"] = mean_affinity(gradient_cosines(train), members)
    board.seconds["gradient cosine"] = sum(one.seconds for one in train.values())
    held = runner.signatures(base.together, "validation")
    started = time.monotonic()
    land = landscape(train, held, {task: runner.planner.sizes[task].rows for task in tasks})
    losses = estimate_losses(land, members, _damping(runner, base, board, land))
    board.estimated = np.where(members, losses, np.nan)
    estimated = relative_gains(board.estimated, board.alone(board.estimated))
    board.rungs["first-order estimate"] = board.of_several(estimated)
    board.seconds["first-order estimate"] = time.monotonic() - started + runner.signature_seconds
    return board


def _damping(runner: StudyRunner, base: Baselines, board: Board, land: Landscape) -> float:
    """As the baselines, which are trained anyway, fit best."""
    measured = measured_values(runner, board, base, [base.together], "loss")
    rows = [board.row(arm.tasks) for arm in (*base.alone, base.together)]
    return fit_damping(land, board.members[rows], measured[rows])


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
    found = np.full(board.members.shape, np.nan)
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


def verify(runner: StudyRunner, board: Board, base: Baselines, known: Sequence[Arm]) -> list[Arm]:
    """Train what all together leaves open, then what the estimates promise most of, within the budget.

    Half of the budget goes to runs of a quarter of the steps where it buys enough of them; the better ones of those
    are then trained in full, as in successive halving.

    Returns:
        Every arm of several tasks that was trained in full, those known before among them.
    """
    planner, budget = runner.planner, runner.planner.study.budget
    left = require_budget(planner)
    ends = time.monotonic() + 60 * budget.minutes if budget.minutes else float("inf")
    tokens = board.members @ np.array([planner.sizes[task].all_tokens for task in board.tasks])
    gains = gains_over_alone(runner, board, [base.together], base, chosen_by(runner))[board.row(board.tasks)]
    groups = dict.fromkeys([*unhurt(board.tasks, gains), *promising(board, tokens)])
    arms = [arm for arm in map(planner.arm, groups) if arm not in known and arm != base.together]
    arms, spent = _halved(runner, base, arms, left)
    trained = list(known)
    left -= spent
    for arm in arms[: budget.arms]:
        if time.monotonic() > ends or planner.tokens(arm) > left:
            continue
        left -= planner.tokens(arm)
        trained.append(arm)
        if budget.minutes:
            runner.train([arm])  # one by one, to keep to the time
    runner.train(trained)
    return list(dict.fromkeys([*trained, base.together]))


def _halved(runner: StudyRunner, base: Baselines, arms: list[Arm], budget: float) -> tuple[list[Arm], float]:
    """Candidates in the order of short runs, where half of the budget buys enough of these; else as they came.

    Returns:
        The candidates, and the tokens that short runs took of the budget.
    """
    planner = runner.planner
    if budget == float("inf"):
        return arms, 0.0
    references = [planner.short(arm) for arm in base.alone]
    short: list[Arm] = []
    spent = sum(planner.tokens(arm) for arm in references)
    for arm in arms:
        cost = planner.tokens(planner.short(arm))
        if spent + cost <= budget / 2:
            short.append(arm)
            spent += cost
    if len(short) < LEAST_SHORT:
        return arms, 0.0
    runner.train([*references, *(planner.short(arm) for arm in short)])
    alone = {arm.tasks[0]: runner.record(arm).validation[arm.tasks[0]].loss for arm in references}
    values = {arm: runner.record(planner.short(arm)).validation for arm in short}
    gains = {arm: float(np.mean([1 - v[t].loss / alone[t] for t in arm.tasks])) for arm, v in values.items()}
    return sorted(short, key=lambda arm: -gains[arm])[: max(1, len(short) // 2)], spent


def unhurt(tasks: Combination, gains: np.ndarray) -> list[Combination]:
    """All tasks but those that all together hurt; none where it hurt nobody, or nearly everybody.

    Args:
        tasks: of the study.
        gains: float (task,) what each gained by all together over itself alone, as measured.
    """
    rest = tuple(task for task, gain in zip(tasks, gains, strict=True) if gain >= 0.0)
    return [rest] if 1 < len(rest) < len(tasks) else []


def promising(board: Board, tokens: np.ndarray) -> list[Combination]:
    """Combinations of several tasks worth training, by the estimates: first what gains most per token.

    What a combination gains counts beyond what those before it reach, and what each task alone and all together
    reach, which are trained in any case: a small one that serves a family comes before a large one that serves it
    as well. Then come each task's best few.

    Args:
        board: with its estimates.
        tokens: float (combination,) of training each, in any unit.

    Source: the cost-benefit greedy choice of Leskovec et al. 2007, Cost-effective outbreak detection in networks.
    """
    count = len(board.tasks)
    gains = relative_gains(board.estimated, board.alone(board.estimated))
    gains = np.nan_to_num(gains, nan=-np.inf).astype(np.float32)
    rows: list[int] = []
    reached = np.maximum(gains[board.row(board.tasks)], 0.0)
    while len(rows) < FEW * count:
        worth = np.maximum(gains - reached, 0.0).sum(axis=1) / tokens
        pick = int(np.argmax(worth))
        if worth[pick] <= 0.0:
            break
        rows.append(pick)
        reached = np.maximum(reached, gains[pick])
    several = np.flatnonzero(board.members.sum(axis=1) > 1)
    best = [several[np.argsort(-gains[several, i])[:FEW]] for i in range(count)]
    rows += [int(ranked[place]) for place in range(FEW) for ranked in best if place < len(ranked)]
    chosen = dict.fromkeys(board.combination(row) for row in rows)
    return [group for group in chosen if len(group) > 1]


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
