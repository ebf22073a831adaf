"""What a guided search finds for its cost, held against chance and against all combinations of recorded studies.

`make bench PART=guided` trains nothing: it reads which combinations a search would have trained, and what these
gained, from the two recorded studies that trained all 63 of six tasks. Chance trains combinations in random order as
long as the same budget lasts.
"""

from itertools import chain
from typing import Any

import numpy as np

from benchmarks.record import record
from benchmarks.recorded_arms import RecordedArms, rank_correlation, read_arms
from multitune.study.search import largest_first

COMMAND = "make bench PART=guided"
STUDIED = ("grouping", "related")
COMBINATIONS = (0, 1, 2, 3, 4, 6, 8, 12)  # that a search trains beside the baselines
DRAWS = 400


def main() -> None:
    """Search both studies again, and record."""
    found = {name: searched(read_arms(name)) for name in STUDIED}
    record("guided", COMMAND, found)
    for name, figures in found.items():
        print(f"{name}: all combinations {figures['all_combinations']}, size {figures['size']}")
        for row in figures["searches"]:
            print(f"  {row}")


def searched(arms: RecordedArms) -> dict[str, Any]:
    """The gains of searches of several lengths, of chance at the same cost, and of all combinations."""
    board = arms.board
    several = [int(row) for row in np.flatnonzero(board.members.sum(axis=1) > 1)]
    whole = board.row(board.tasks)
    gained = dict(zip(board.tasks, arms.gains[whole], strict=True))
    order = [board.row(group) for group in chain.from_iterable(largest_first(board.tasks, gained))]
    everything = arms.tokens.sum()
    baselines = arms.tokens[whole] + sum(arms.tokens[board.row((task,))] for task in board.tasks)
    rows: list[dict[str, Any]] = []
    for count in COMBINATIONS:
        trained = [whole, *order[:count]]
        spent = baselines + arms.tokens[trained[1:]].sum()
        gain, points = arms.recommended(trained)
        chance = [by_chance(arms, several, spent - baselines, seed) for seed in range(DRAWS)]
        row = {"combinations": count, "share_of_everything": spent / everything, "gain": gain, "points": points}
        row |= {"gain_of_chance": np.mean([one[0] for one in chance])}
        row |= {"points_of_chance": np.mean([one[1] for one in chance])}
        row |= {"chance_is_as_good": np.mean([one[0] >= gain - 1e-12 for one in chance])}
        rows.append({name: round(float(value), 3) for name, value in row.items()})
    gain, points = arms.recommended(several)
    size = np.where(board.members & (board.members.sum(axis=1, keepdims=True) > 1), 1.0, np.nan)
    return {
        "all_combinations": {"gain": round(gain, 3), "points": round(points, 3)},
        "size": rank_correlation(size * board.members.sum(axis=1, keepdims=True), arms.gains),
        "searches": rows,
    }


def by_chance(arms: RecordedArms, several: list[int], budget: float, seed: int) -> tuple[float, float]:
    """What combinations in random order recommend, as far as a budget goes."""
    trained = [arms.board.row(arms.board.tasks)]
    for row in np.random.default_rng(seed).permutation([row for row in several if row not in trained]):
        if arms.tokens[row] <= budget:
            budget -= float(arms.tokens[row])
            trained.append(int(row))
    return arms.recommended(trained)


if __name__ == "__main__":
    main()
