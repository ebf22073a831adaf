"""What a guided search costs and misses: held against the exhaustive study of the same tasks, and against chance.

`make bench PART=guided NAME=grouping DATA=folder`, after PART=studies. Chance trains combinations in random order as
long as the same budget lasts. The exhaustive study picks the best of all its runs, which is partly chance, so regret
is given twice: by the scores of the first pick, and by what both searches recommend with other seeds.
"""

import os
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.record import record
from benchmarks.studies import recorded_study
from multitune.config.schema import RunConfig
from multitune.config.study import StudyConfig
from multitune.core.records import Split
from multitune.study.arms import Arm
from multitune.study.findings import Outcome, compared
from multitune.study.grouping import Grouping, best_grouping
from multitune.study.plan import baselines, require_budget, searched, serving
from multitune.study.runner import StudyRunner
from multitune.study.search import (
    Board,
    gains_over_alone,
    look_again,
    survey,
    verify,
)
from multitune.study.study import open_runner

COMMAND = "make bench PART=guided NAME={} DATA=folder"
SHARES = (0.1, 0.2)
SPLITS: tuple[Split, ...] = ("validation", "test")
DRAWS = 200


def main() -> None:
    """Search within shares of the cost of everything; arms that the exhaustive study trained are not trained again."""
    name = os.environ["NAME"]
    with recorded_study(name) as (study, run):
        runner = open_runner(study, run)
        base, everything = baselines(runner.planner), searched(runner.planner)
        runner.train([*base.arms, *base.repeats, *everything])
        full = [arm for arm in dict.fromkeys(everything) if arm == runner.planner.arm(arm.tasks)]
        board = survey(runner, base)
        gains, scores = (gains_over_alone(runner, board, full, base, what) for what in ("loss", "score"))
        whole = Outcome(base, full, board, best_grouping(gains, study.worth))
        last = replace(whole, choice=look_again(runner, board, base, whole.choice))
        by_share: dict[str, Any] = {}
        for share in SHARES:
            guided, spent, left = _guided(study, run, share)
            chance = _by_chance(runner, board, (gains, scores), left)
            by_share[f"{share:.0%}"] = {
                **_described(guided, scores),
                "share_of_everything": spent / runner.planner.everything(),
                "regret_points": _points(whole.choice, scores) - _points(guided.choice, scores),
                "regret_loss_gain": whole.choice.gain - guided.choice.gain,
                "regret_points_of_chance": _points(whole.choice, scores) - chance,
                "in_the_end": _in_the_end(runner, last, guided),
            }
    exhaustive = {**_described(whole, scores), "groups_in_the_end": [list(group) for group in last.groups]}
    found = {"study": name, "combinations": len(board.members), "exhaustive": exhaustive, "guided": by_share}
    print(found)
    record(f"guided-{name}", COMMAND.format(name), found)


def _guided(study: StudyConfig, run: RunConfig, share: float) -> tuple[Outcome, float, float]:
    """What a guided search finds, the tokens it spent, and those it had for verifying."""
    budget = study.budget.model_copy(update={"share": share})
    runner = open_runner(study.model_copy(update={"search": "guided", "rungs": (), "budget": budget}), run)
    base = baselines(runner.planner)
    runner.train([*base.arms, *base.repeats])
    board = survey(runner, base)
    full = verify(runner, board, base, [])
    found = Outcome(base, full, board, best_grouping(gains_over_alone(runner, board, full, base, "loss"), study.worth))
    trained = [arm for arm in runner.asked.values() if arm.steps and arm not in base.repeats]
    spent = sum(runner.planner.tokens(arm) for arm in trained) + runner.planner.signature_tokens()
    return found, spent, require_budget(runner.planner)


def _in_the_end(runner: StudyRunner, whole: Outcome, first: Outcome) -> dict[str, Any]:
    """Points that a guided search's recommendation lacks to the exhaustive one's, by the seeds that did not search."""
    guided = replace(first, choice=look_again(runner, first.board, first.base, first.choice))
    planner = runner.planner
    pairs: dict[str, list[tuple[Arm, Arm]]] = {
        task: [
            (serving(planner, task, guided.group_of(task), seed), serving(planner, task, whole.group_of(task), seed))
            for seed in planner.study.seeds[1:]
        ]
        for task in planner.tasks
    }
    arms = list(dict.fromkeys(arm for seeds in pairs.values() for pair in seeds for arm in pair))
    found: dict[str, Any] = {"groups": [list(group) for group in guided.groups]}
    found["seeds"] = list(planner.study.seeds[1:])
    for split in SPLITS:
        runner.answer([*whole.base.base, *arms], split)
        total = compared(runner, pairs, whole.base, split).summary
        found[split] = {
            "regret_points": total.mean_points,
            "low": total.points_low,
            "high": total.points_high,
        }
    return found


def _by_chance(runner: StudyRunner, board: Board, measured: tuple[np.ndarray, np.ndarray], budget: float) -> float:
    """Mean points of the grouping that combinations in random order, as far as a budget goes, recommend."""
    gains, scores = measured
    planner, random = runner.planner, np.random.default_rng(17)
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
        choice = best_grouping(np.where(known[:, None], gains, np.nan), planner.study.worth)
        points.append(_points(choice, scores))
    return float(np.mean(points))


def _described(found: Outcome, scores: np.ndarray) -> dict[str, Any]:
    """A grouping, its mean gain in validation loss, and its mean gain in points, by the runs it was picked by."""
    return {
        "groups": [list(group) for group in found.groups],
        "arms_in_full": len(found.full),
        "loss_gain": found.choice.gain,
        "points": _points(found.choice, scores),
    }


def _points(choice: Grouping, scores: np.ndarray) -> float:
    """Mean gain of the tasks under a grouping, in points."""
    return 100 * float(np.mean([scores[row, column] for column, row in enumerate(choice.serves)]))


if __name__ == "__main__":
    main()
