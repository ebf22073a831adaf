"""The arms of a recorded exhaustive study, as tables of what each combination gained on validation."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from multitune.core.results.study import ArmRecord, Findings
from multitune.study.grouping import best_grouping, relative_gains
from multitune.study.search import Board

STUDIES = Path(__file__).parent.parent / "studies"
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class RecordedArms:
    """What every combination of a study's tasks gained over each alone, with the seed that searched."""

    board: Board
    gains: np.ndarray  # relative gain in loss, float (combination, task), NaN for tasks outside of it
    points: np.ndarray  # gain in points of the metric, likewise
    tokens: np.ndarray  # that each took, float (combination,)
    worth: float  # least gain of one more adapter

    def recommended(self, rows: list[int]) -> tuple[float, float]:
        """Gain in loss and in points, means over the tasks, of the grouping that these combinations recommend."""
        known = np.full_like(self.gains, np.nan)
        alone = np.flatnonzero(self.board.members.sum(axis=1) == 1)
        for row in (*alone, *rows):
            known[row] = self.gains[row]
        choice = best_grouping(known, self.worth)
        served = [self.points[row, task] for task, row in enumerate(choice.serves)]
        return choice.gain, float(np.mean(served))


def read_arms(name: str, worth: float = 0.01) -> RecordedArms:
    """The arms of `studies/NAME/findings.json`.

    Raises:
        ValueError: not every combination was trained.
    """
    raw = json.loads((STUDIES / name / "findings.json").read_text("utf-8"))
    found = Findings.model_validate(raw)
    board = Board(tuple(found.tasks))
    first = [
        arm for arm in found.arms if arm.seed == found.arms[0].seed and arm.budget in ("together", "equal_passes")
    ]
    if {arm.tasks for arm in first} != {board.combination(row) for row in range(len(board.members))}:
        raise ValueError(f"studies/{name}: its search was not exhaustive")
    alone = [arm for arm in found.arms if arm.budget == "equal_passes"]
    losses, scores = (_values(board, first, alone, value) for value in (_loss, _score))
    tokens = np.empty(len(losses))
    for arm in first:
        tokens[board.row(arm.tasks)] = arm.tokens
    points = 100 * (scores - board.alone(scores))
    return RecordedArms(board, relative_gains(losses, board.alone(losses)), points, tokens, worth)


def _loss(arm: ArmRecord, task: str) -> float:
    return arm.validation[task].loss


def _score(arm: ArmRecord, task: str) -> float:
    return arm.validation[task].score


def _values(
    board: Board, arms: list[ArmRecord], alone: list[ArmRecord], value: Callable[[ArmRecord, str], float]
) -> np.ndarray:
    """Values by combination and task; those of a task alone are means over its seeds, from which all is measured."""
    found = board.empty()
    for arm in arms:
        for task in arm.tasks:
            found[board.row(arm.tasks), board.tasks.index(task)] = value(arm, task)
    for column, task in enumerate(board.tasks):
        found[board.row((task,)), column] = np.mean([value(arm, task) for arm in alone if arm.tasks == (task,)])
    return found


def rank_correlation(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Spearman's over combinations of several tasks, mean over the tasks, with a 95% interval over combinations."""
    random = np.random.default_rng(17)
    rows = np.flatnonzero((~np.isnan(predicted)).any(axis=1))
    drawn = [
        _correlation(predicted[d], measured[d]) for d in (random.choice(rows, len(rows)) for _ in range(RESAMPLES))
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    whole = _correlation(predicted, measured)
    return {"rank_correlation": round(whole, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """By task, so that easy tasks do not stand above hard ones."""
    found: list[float] = []
    for x, y in zip(a.T, b.T, strict=True):
        known = ~(np.isnan(x) | np.isnan(y))
        if known.sum() > 2 and np.ptp(x[known]) > 0 and np.ptp(y[known]) > 0:
            found.append(float(np.corrcoef(rankdata(x[known]), rankdata(y[known]))[0, 1]))
    return float(np.mean(found)) if found else float("nan")
