"""From the gain of every task in every combination to the few adapters that serve all tasks best."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Grouping:
    """The combinations to train, and which of them serves each task."""

    chosen: tuple[int, ...]  # rows of the gains
    serves: tuple[int, ...]  # row that serves each task
    gain: float  # mean gain over the tasks


def best_grouping(gains: np.ndarray, worth: float) -> Grouping:
    """Add the combination that gains most over those chosen, as long as it gains at least `worth`.

    The mean of the best gain per task is submodular in the set of combinations, so the greedy choice reaches at
    least 1 - 1/e of the best one of its size (Nemhauser et al. 1978); the best set itself is NP-hard to find.

    Args:
        gains: float (combination, task) relative gain over training the task alone; NaN where it cannot serve or was
            not measured.
        worth: least mean gain over all tasks for one more adapter.
    """
    usable = np.where(np.isnan(gains), -np.inf, gains)
    chosen: list[int] = []
    best = np.full(gains.shape[1], -np.inf)
    while True:
        after = np.maximum(best, usable).mean(axis=1)
        if np.isneginf(after).all():
            # No single combination serves everything: begin with the one that serves most tasks, best gain first.
            served = np.isfinite(np.maximum(best, usable)).sum(axis=1)
            gain = np.where(np.isfinite(usable), usable, 0.0).sum(axis=1)
            pick = int(np.lexsort((gain, served))[-1])
        else:
            pick = int(np.argmax(after))
            now = best.mean()
            if np.isfinite(now) and after[pick] - now < max(worth, 1e-12):
                break
        if pick in chosen:
            break
        chosen.append(pick)
        best = np.maximum(best, usable[pick])
    serves = [max(chosen, key=lambda row: (usable[row, task], -chosen.index(row))) for task in range(gains.shape[1])]
    used = tuple(row for row in chosen if row in serves)  # an early choice that later ones have made idle is dropped
    return Grouping(used, tuple(serves), float(best.mean()))


def relative_gains(losses: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """(alone - loss) / alone, float (combination, task); NaN stays NaN."""
    return (alone - losses) / np.maximum(alone, 1e-9)
