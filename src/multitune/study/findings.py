"""What a study found, as plain values in findings.json.

::

    {"study", "base", "split": what was chosen by, "choose_by", "confidence", "sentence",
     "tasks": {TASK: {"metric", "base": {"validation", "test"}}},
     "arms": [{"key", "name", "tasks", "general", "schedule", "seed", "steps", "tokens", "seconds",
               "budget": "together" | "equal_passes" | "equal_steps" | "short",
               "validation": {TASK: {"score", "loss", "examples"}}, "test": as of validation}],
     "recommended": {"groups": [[TASK]], "why", "measured_gain",                       # mean relative gain in loss
                     "longer_alone": {TASK: steps that serve it better than its group does},
                     "tasks": {TASK: {"predicted", and as in comparisons}}},
     "comparisons": {"recommended against equal_passes": {"tasks": [the fields of transfer.TaskTransfer and "group",
                     the tasks that it was trained with], "summary": TransferSummary}, ...},
     "variants": [{"schedule", "general", "seeds", "tasks", "summary", "validation": mean metric}],
     "helps": {"tasks", "points", "low", "high", "p_holm", "verdict"},  # row trained with column against row alone
     "synergy": {"pairs", "higher", "groups"},
     "ladder": [{"rung", "against", "rank_correlation", "low", "high", "regret", "pairs", "seconds"}],
     "predictions": [{"rung", "tasks", "task", "predicted", "measured"}],            # relative gains in loss
     "cost": {"spent_tokens", "spent_seconds", "everything_tokens", "everything_seconds", "ratio", "measured"}}

Points are hundredths of the task's metric. What a study did not get to is null or empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from multitune.config.study import Alone
from multitune.core.records import Split
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.transfer import Arms, TaskTransfer, TransferTable, adjusted, compare_seeds
from multitune.evaluation.wording import points_text
from multitune.study.arms import Arm
from multitune.study.grouping import Grouping, relative_gains
from multitune.study.ladder import rungs
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


def gather(runner: StudyRunner, outcome: Outcome, longer: Mapping[str, Arm], split: Split) -> dict[str, Any]:
    """Everything that findings.json holds; `longer` is of `longer_alone`, comparisons are made on rows of `split`."""
    board, study = outcome.board, runner.planner.study
    loss_gains = gains_over_alone(runner, board, outcome.full, outcome.base, "loss")
    points = 100 * gains_over_alone(runner, board, outcome.full, outcome.base, "score")
    ladder = {**board.rungs, **_dearer_rungs(runner, board, outcome)}
    steps = rungs(ladder, _several(board, loss_gains), _several(board, points), runner.prepared.config.seed)
    by_mixture = _gains_by_mixture(board, points)
    comparisons = _comparisons(runner, outcome, split)
    recommended = _recommended(runner, outcome, loss_gains, comparisons)
    return {
        "study": study.name,
        "base": runner.prepared.config.base,
        "split": "validation",
        "reported": split,
        "choose_by": study.choose_by,
        "confidence": runner.prepared.config.evaluate.confidence,
        "sentence": _sentence(outcome, comparisons, study.alone),
        "tasks": {task: _task(runner, outcome, task) for task in board.tasks},
        "arms": [_arm(runner, outcome.base, arm) for arm in runner.asked.values() if arm.steps],
        "recommended": {**recommended, "longer_alone": {task: arm.steps for task, arm in longer.items()}},
        "comparisons": comparisons,
        "helps": _helps(runner, outcome, by_mixture),
        "synergy": {
            "pairs": mean_effects(board.tasks, by_mixture),
            "higher": higher_order(board.tasks, by_mixture),
            "groups": group_effects(study.groups, by_mixture, runner.prepared.config.seed),
        },
        "ladder": [{**_told(asdict(step)), "seconds": board.seconds.get(step.rung)} for step in steps],
        "predictions": _predictions(board, ladder, loss_gains),
    }


def compared(
    runner: StudyRunner, pairs: Mapping[str, Sequence[tuple[Arm, Arm]]], base: Baselines, split: Split
) -> dict[str, Any]:
    """A transfer table over seeds.

    Args:
        runner: the study's.
        pairs: task -> (alone, together) for each seed.
        base: the arms of the base, for the column beside.
        split: whose rows were answered.
    """
    table = _transfer(runner, pairs, base, split)
    found = [{**asdict(row), "group": list(pairs[row.task][0][1].tasks)} for row in table.rows]
    return {"tasks": found, "summary": asdict(table.summary), "rows": split}


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


def _comparisons(runner: StudyRunner, outcome: Outcome, split: Split) -> dict[str, Any]:
    """What is recommended against each task alone at each budget, and all tasks together at equal passes."""
    planner, seeds = runner.planner, runner.planner.study.seeds
    served = {
        (task, seed): serving(planner, task, outcome.group_of(task), seed)
        for task in outcome.board.tasks
        for seed in seeds
    }
    found: dict[str, Any] = {}
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
    runner: StudyRunner, outcome: Outcome, gains: np.ndarray, comparisons: Mapping[str, Any]
) -> dict[str, Any]:
    board, choice = outcome.board, outcome.choice
    table = comparisons[f"recommended against {runner.planner.study.alone[0]}"]
    rows = {row["task"]: row for row in table["tasks"]}
    estimate = board.rungs["first-order estimate"]
    tasks: dict[str, Any] = {}
    for i, task in enumerate(board.tasks):
        predicted = float(estimate[choice.serves[i], i])
        tasks[task] = {"predicted": _number(predicted), **rows[task]}
    served = [gains[choice.serves[i], i] for i in range(len(board.tasks))]
    again = ", and again with the seeds that the search did not use" if len(runner.planner.study.seeds) > 1 else ""
    return {
        "groups": [list(group) for group in outcome.groups],
        "why": f"best mean gain on validation by {runner.planner.study.choose_by}{again}; one more adapter had to "
        f"gain {runner.planner.study.worth:.1%} over all tasks",
        "measured_gain": _number(float(np.mean(served))),
        "tasks": tasks,
    }


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
            float(np.mean([runner.record(arm)["validation"][task][what] for arm in arms])) for arms in (served, alone)
        )
        gain = 1 - after / max(before, 1e-9) if what == "loss" else after - before
        if gain / len(outcome.board.tasks) >= study.worth:
            found[task] = alone[0]
    return found


def _sentence(outcome: Outcome, comparisons: Mapping[str, Any], budgets: Sequence[Alone]) -> str:
    """What to train, and what it does under each budget of training alone."""
    several = [group for group in outcome.groups if len(group) > 1]
    lead = f"Train in {len(outcome.groups)} groups"
    if not several:
        lead = "Train each task alone"
    elif several == [outcome.board.tasks]:
        lead = "Train all tasks together"
    told: list[str] = []
    for budget in budgets:
        total = comparisons[f"recommended against {budget}"]["summary"]
        verdicts = total["verdicts"]
        known = [f"{word} {', '.join(verdicts[word])}" for word in ("helped", "hurt") if verdicts[word]]
        points = f"{points_text(total)} at {budget.replace('_', ' ')}"
        told.append(f"{points} ({'; '.join(known) or 'no task by itself'})")
    return f"{lead}: against each alone {' and '.join(told)}."


def _task(runner: StudyRunner, outcome: Outcome, task: str) -> dict[str, Any]:
    record = runner.record(next(arm for arm in outcome.base.base if arm.tasks == (task,)))
    scores = {split: record[split][task]["score"] if record[split] else None for split in ("validation", "test")}
    return {"metric": runner.prepared.tasks[task].data.task.metric.name, "base": scores}


def _arm(runner: StudyRunner, base: Baselines, arm: Arm) -> dict[str, Any]:
    planner = runner.planner
    if len(arm.tasks) > 1:
        budget = "together" if arm.steps == planner.arm(arm.tasks, arm.seed, arm.general).steps else "short"
    else:
        task = next(iter(arm.tasks))
        passes = planner.alone(task, "equal_passes", base.together).steps
        budget = "equal_passes" if arm.steps == passes else "short" if arm.steps < passes else "equal_steps"
    return {**runner.record(arm), "name": arm.name, "budget": budget}


def _helps(runner: StudyRunner, outcome: Outcome, gains: Mapping[Combination, Mapping[str, float]]) -> dict[str, Any]:
    """The matrix of pairs, each with the interval of the rows it was chosen by, and p adjusted for all pairs."""
    tasks = outcome.board.tasks
    points = helps(tasks, gains)
    cells = [(i, j) for i in range(len(tasks)) for j in range(len(tasks)) if points[i][j] is not None]
    rows: list[TaskTransfer] = []
    for i, j in cells:
        arm = runner.planner.arm((tasks[i], tasks[j]))
        against = [(alone, arm) for alone in outcome.base.alone_on(tasks[i])]
        rows += _transfer(runner, {tasks[i]: against}, outcome.base, "validation").rows
    found: dict[str, list[list[Any]]] = {
        key: [[None] * len(tasks) for _ in tasks] for key in ("low", "high", "p_holm", "verdict")
    }
    for (i, j), row in zip(cells, adjusted(rows, runner.prepared.config.evaluate.confidence), strict=True):
        found["low"][i][j], found["high"][i][j] = 100 * row.low, 100 * row.high
        found["p_holm"][i][j], found["verdict"][i][j] = row.p_holm, row.verdict
    return {"tasks": list(tasks), "points": points, **found}


def _dearer_rungs(runner: StudyRunner, board: Board, outcome: Outcome) -> dict[str, np.ndarray]:
    """Gains by proxy runs and by short runs, each over the same kind of run of the task alone."""
    arms = [*outcome.base.alone, *outcome.full]
    found: dict[str, np.ndarray] = {}
    if "proxy_runs" in runner.planner.study.rungs:
        losses = runner.proxies(arms)
        found["proxy runs"] = _gains(board, arms, losses)
        board.seconds["proxy runs"] = sum(one["seconds"] for one in losses.values())
    if "short_runs" in runner.planner.study.rungs:
        short = {arm: runner.planner.short(arm) for arm in arms}
        records = {arm: runner.record(one) for arm, one in short.items()}
        losses = {arm: {t: r["validation"][t]["loss"] for t in arm.tasks} for arm, r in records.items()}
        found["short runs"] = _gains(board, arms, losses)
        board.seconds["short runs"] = sum(record["seconds"] for record in records.values())
    return found


def _gains(board: Board, arms: Sequence[Arm], losses: Mapping[Arm, Mapping[str, float]]) -> np.ndarray:
    """Relative gains over each task alone, float (combination, task), of combinations of several tasks."""
    values = np.full(board.members.shape, np.nan)
    alone = np.full(len(board.tasks), np.nan)
    for arm in arms:
        for task in arm.tasks:
            column = board.tasks.index(task)
            values[board.row(arm.tasks), column] = losses[arm][task]
            if len(arm.tasks) == 1:
                alone[column] = losses[arm][task]
    return _several(board, relative_gains(values, alone))


def _gains_by_mixture(board: Board, points: np.ndarray) -> dict[Combination, dict[str, float]]:
    found: dict[Combination, dict[str, float]] = {}
    for row in np.flatnonzero(~np.isnan(points).all(axis=1)):
        known = np.flatnonzero(~np.isnan(points[row]))
        found[board.combination(int(row))] = {board.tasks[i]: float(points[row, i]) for i in known}
    return found


def _predictions(board: Board, ladder: Mapping[str, np.ndarray], gains: np.ndarray) -> list[dict[str, Any]]:
    """What the rungs that speak in gains said of every combination that was trained."""
    found: list[dict[str, Any]] = []
    for rung in ("first-order estimate", "proxy runs", "short runs"):
        values = ladder.get(rung)
        if values is None:
            continue
        for row, task in np.argwhere(~(np.isnan(values) | np.isnan(gains))):
            pair = {"predicted": float(values[row, task]), "measured": float(gains[row, task])}
            found.append({"rung": rung, "tasks": board.combination(int(row)), "task": board.tasks[task], **pair})
    return found


def _several(board: Board, values: np.ndarray) -> np.ndarray:
    """Only combinations of several tasks; a task alone gains nothing over itself."""
    return np.where(board.members.sum(axis=1, keepdims=True) > 1, values, np.nan)


def _told(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same with null for what cannot be told; JSON has no NaN."""
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in fields.items()}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
