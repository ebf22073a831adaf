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
from multitune.study.grouping import Grouping, relative_gains
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
        values = [measured_values(desk, board, base, full, what) for what in ("loss", "score")]
        found: dict[str, Any] = {"study": name, "combinations": len(board.members), "exhaustive": truth, "guided": {}}
        for share in SHARES:
            guided, left = _guided(study, run, share, truth)
            guided["regret_points_of_chance"] = truth["points"] - _by_chance(desk, board, full, values, left)
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


def _by_chance(desk: Desk, board: Board, full: list[Arm], values: list[np.ndarray], budget: float) -> float:
    """Mean points of the grouping that randomly chosen combinations of a budget recommend."""
    random, points = np.random.default_rng(17), list[float]()
    fixed = [row for row, inside in enumerate(board.members) if inside.sum() in (1, len(board.tasks))]
    for _ in range(DRAWS):
        left, known = budget, list(fixed)
        for place in random.permutation(len(full)):
            cost = desk.planner.tokens(full[place])
            if cost <= left and board.row(full[place].tasks) not in known:
                left -= cost
                known.append(board.row(full[place].tasks))
        losses, scores = (np.full(board.members.shape, np.nan) for _ in values)
        losses[known], scores[known] = values[0][known], values[1][known]
        alone = [losses[board.row((task,)), column] for column, task in enumerate(board.tasks)]
        serves = recommend(relative_gains(losses, np.array(alone)), desk.planner.study.worth).serves
        points.append(100 * float(np.mean([scores[row, column] for column, row in enumerate(serves)])))
    return float(np.mean(points))


def _told(desk: Desk, board: Board, base: Baselines, full: list[Arm]) -> dict[str, Any]:
    """The grouping that measured arms recommend: its mean gain in validation loss, and its mean metric in points."""
    gains = gains_over_alone(desk, board, full, base, "loss")
    choice: Grouping = recommend(gains, desk.planner.study.worth)
    scores = measured_values(desk, board, base, full, "score")
    served = [scores[choice.serves[i], i] for i in range(len(board.tasks))]
    return {
        "groups": [list(board.combination(row)) for row in choice.chosen],
        "arms_in_full": len(full),
        "loss_gain": choice.gain,
        "points": 100 * float(np.mean(served)),
    }


if __name__ == "__main__":
    main()
