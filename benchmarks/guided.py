"""What a guided search costs and misses: held against the exhaustive study of the same tasks, and against chance.

`make bench PART=guided NAME=related DATA=folder`, after PART=studies. Chance trains combinations in random order as
long as the same budget lasts.
"""

import os
from typing import Any

import numpy as np

from benchmarks.record import record
from benchmarks.studies import recorded_study
from multitune.config.schema import RunConfig
from multitune.config.study import StudyConfig
from multitune.study.arms import Arm
from multitune.study.desk import Desk
from multitune.study.grouping import Grouping
from multitune.study.plan import Baselines, baselines, require_budget, searched
from multitune.study.search import (
    SIGNATURE_ROWS,
    Board,
    gains_over_alone,
    measured_values,
    recommend,
    survey,
    verify,
)
from multitune.study.study import StudyOptions, open_desk

COMMAND = "make bench PART=guided NAME=related DATA=folder"
SHARES = (0.1, 0.15, 0.2, 0.3)
DRAWS = 200


def main() -> None:
    """Search within shares of the cost of everything; arms that the exhaustive study trained are not trained again."""
    name = os.environ["NAME"]
    with recorded_study(name) as (study, run):
        desk = open_desk(study, run, StudyOptions())
        base = baselines(desk.planner)
        everything = searched(desk.planner)
        desk.train([*base.arms, *base.repeats, *everything])
        full = [arm for arm in dict.fromkeys(everything) if arm == desk.planner.arm(arm.tasks)]
        board = survey(desk, base)
        truth = _told(desk, board, base, full)
        gains = gains_over_alone(desk, board, full, base, "loss")
        scores = measured_values(desk, board, base, full, "score")
        found: dict[str, Any] = {"study": name, "combinations": len(board.members), "exhaustive": truth, "guided": {}}
        for share in SHARES:
            guided, left = _guided(study, run, share, truth)
            guided["regret_points_of_chance"] = truth["points"] - _by_chance(desk, board, (gains, scores), left)
            found["guided"][f"{share:.0%}"] = guided
    print(found)
    record("guided", COMMAND, found)


def _guided(study: StudyConfig, run: RunConfig, share: float, truth: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """One guided search and what its grouping loses to the best of all; and the tokens it had for verifying."""
    budget = study.budget.model_copy(update={"share": share})
    guided = study.model_copy(update={"search": "guided", "rungs": (), "budget": budget})
    desk = open_desk(guided, run, StudyOptions())
    base = baselines(desk.planner)
    desk.train([*base.arms, *base.repeats])
    board = survey(desk, base)
    told = _told(desk, board, base, verify(desk, board, base, []))
    planner = desk.planner
    searched = [arm for arm in desk.asked.values() if arm.steps and arm not in base.repeats]
    spent = sum(planner.tokens(arm) for arm in searched)
    spent += planner.signature_tokens(2 * SIGNATURE_ROWS)
    found = {
        **told,
        "share_of_everything": spent / planner.everything(),
        "regret_points": truth["points"] - told["points"],
        "regret_loss_gain": truth["loss_gain"] - told["loss_gain"],
    }
    return found, require_budget(planner, 2 * SIGNATURE_ROWS)


def _by_chance(desk: Desk, board: Board, measured: tuple[np.ndarray, np.ndarray], budget: float) -> float:
    """Mean points of the grouping that combinations in random order, as far as a budget goes, recommend."""
    gains, scores = measured
    planner, random = desk.planner, np.random.default_rng(17)
    sizes = board.members.sum(axis=1)
    baseline = (sizes == 1) | (sizes == len(board.tasks))
    cost = [planner.tokens(planner.arm(board.combination(row))) for row in range(len(sizes))]
    points: list[float] = []
    for _ in range(DRAWS):
        left, known = budget, baseline.copy()
        for row in random.permutation(np.flatnonzero(~baseline)):
            if cost[row] <= left:
                left -= cost[row]
                known[row] = True
        choice = recommend(np.where(known[:, None], gains, np.nan), planner.study.worth)
        points.append(_points(choice, scores))
    return float(np.mean(points))


def _told(desk: Desk, board: Board, base: Baselines, full: list[Arm]) -> dict[str, Any]:
    """The grouping that measured arms recommend: its mean gain in validation loss, and its mean metric in points."""
    choice = recommend(gains_over_alone(desk, board, full, base, "loss"), desk.planner.study.worth)
    return {
        "groups": [list(board.combination(row)) for row in choice.chosen],
        "arms_in_full": len(full),
        "loss_gain": choice.gain,
        "points": _points(choice, measured_values(desk, board, base, full, "score")),
    }


def _points(choice: Grouping, scores: np.ndarray) -> float:
    """Mean metric of the tasks under a grouping, in points."""
    return 100 * float(np.mean([scores[row, column] for column, row in enumerate(choice.serves)]))


if __name__ == "__main__":
    main()
