"""How well a cheap predictor agrees with an expensive one: rank correlation, and what following it would have cost."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata

from multitune.core.results.study import Rung
from multitune.core.seeds import generator

RESAMPLES = 1000


def compare_rungs(
    rung: str, against: str, cheap: np.ndarray, dear: np.ndarray, points: np.ndarray, *, seed: int
) -> Rung:
    """Correlate two rungs: Spearman over pairs of a task and a combination, with a 95% interval over combinations.

    Args:
        rung: name of the cheap one.
        against: name of the dear one.
        cheap: float (combination, task) its prediction of the gain, NaN where it has none; any unit.
        dear: the same of the dear rung.
        points: float (combination, task) measured gain in points of the metric, which values the picks; NaN where
            the full run was not made.
        seed: of the resampling.
    """
    both = ~(np.isnan(cheap) | np.isnan(dear))
    random = generator(seed, "rungs", rung, against)
    rows = np.flatnonzero(both.any(axis=1))
    draws = [random.choice(rows, len(rows)) for _ in range(RESAMPLES)] if len(rows) else []
    found = [correlation for d in draws if not np.isnan(correlation := _correlation(cheap[d], dear[d]))]
    low, high = np.percentile(found, [2.5, 97.5]) if found else (np.nan, np.nan)
    return Rung(
        rung=rung,
        against=against,
        rank_correlation=known(_correlation(cheap, dear)),
        low=known(float(low)),
        high=known(float(high)),
        regret=known(regret(cheap, points)),
        pairs=int(both.sum()),
    )


def known(value: float) -> float | None:
    """A number, or None for NaN: not measured."""
    return None if np.isnan(value) else value


def regret(predicted: np.ndarray, points: np.ndarray) -> float:
    """Points lost, mean over the tasks, where each task takes the combination with the best prediction.

    Only combinations with a prediction and a measurement take part.
    """
    lost: list[float] = []
    for task in range(points.shape[1]):
        known = np.flatnonzero(~(np.isnan(predicted[:, task]) | np.isnan(points[:, task])))
        if len(known):
            picked = known[int(np.argmax(predicted[known, task]))]
            lost.append(float(points[known, task].max() - points[picked, task]))
    return float(np.mean(lost)) if lost else float("nan")


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation over combinations, mean over the tasks: easy tasks must not stand above hard ones."""
    found: list[float] = []
    for task in range(a.shape[1]):
        known = ~(np.isnan(a[:, task]) | np.isnan(b[:, task]))
        x, y = a[known, task], b[known, task]
        if known.sum() > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
            found.append(float(np.corrcoef(rankdata(x), rankdata(y))[0, 1]))
    return float(np.mean(found)) if found else float("nan")


def rungs(ladder: Mapping[str, np.ndarray], full: np.ndarray, points: np.ndarray, seed: int) -> list[Rung]:
    """Each rung against the next one and against the full runs, cheapest first."""
    names = [*ladder, "full runs"]
    values = [*ladder.values(), full]
    found: list[Rung] = []
    for place, name in enumerate(names[:-1]):
        for later in dict.fromkeys([place + 1, len(names) - 1]):
            found.append(compare_rungs(name, names[later], values[place], values[later], points, seed=seed))
    return found
