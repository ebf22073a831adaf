"""Paired comparisons of two arms on the same examples: bootstrap intervals and exact McNemar."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multitune.config.schema import RunConfig
from multitune.core.results.scores import Difference
from multitune.core.seeds import generator
from multitune.tasks.sufficient_statistics import SufficientStatistics

Corpus = Callable[[Sequence[Any], Sequence[Any]], float]  # (values, golds) -> the metric over all of them


@dataclass(frozen=True, slots=True)
class BootstrapPlan:
    """How often to resample, which level to report, and the seed of it."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 17
    margin: float | None = None  # a loss of less than this counts as none, in the metric's unit


def bootstrap_plan(config: RunConfig) -> BootstrapPlan:
    """Resamples, confidence, seed and margin of a run's comparisons."""
    settings = config.evaluate
    return BootstrapPlan(settings.resamples, settings.confidence, config.seed, settings.margin)


def mean_differences(scores_a: Sequence[float], scores_b: Sequence[float], plan: BootstrapPlan) -> np.ndarray:
    """b − a on each resample of a metric that is the mean of per-example scores, float64 (resample,)."""
    assert len(scores_a) == len(scores_b) > 0, "two arms are compared on the same examples"
    gains = np.asarray(scores_b, dtype=np.float64) - np.asarray(scores_a, dtype=np.float64)  # (example,)
    return np.array([gains[rows].mean() for rows in _resamples(len(gains), plan)])


def resampled_scores(metric: Corpus, values: Sequence[Any], golds: Sequence[Any], plan: BootstrapPlan) -> np.ndarray:
    """One arm's metric on each resample of its examples, float64 (resample,).

    The resamples follow from the plan and the number of examples alone, so that the difference of two arms' scores
    is paired: both see the same examples each time.

    Source: Efron & Tibshirani 1993, chapter 13; Koehn 2004 for paired use on corpus metrics.
    """
    assert len(values) == len(golds) > 0, "a score needs examples"
    drawn = (indices.tolist() for indices in _resamples(len(golds), plan))
    return np.array([metric([values[row] for row in rows], [golds[row] for row in rows]) for rows in drawn])


def scores_from_statistics(statistics: SufficientStatistics, plan: BootstrapPlan) -> np.ndarray:
    """`resampled_scores` of a metric that follows from sums: the same numbers without calling it."""
    examples = len(statistics.counts)
    assert examples > 0, "a score needs examples"
    drawn = (np.bincount(rows, minlength=examples) for rows in _resamples(examples, plan))
    return statistics.read(np.stack([times @ statistics.counts for times in drawn]))


def percentile_interval(differences: np.ndarray, difference: float, confidence: float) -> Difference:
    """Interval between the two tails of resampled differences, each (1 − confidence) / 2."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(differences, [tail, 1.0 - tail])
    return Difference(difference=difference, low=float(low), high=float(high))


def bootstrap_p(differences: np.ndarray, discordant: int) -> float:
    """Two-sided p that the difference is zero: twice the smaller share of resamples on either side of zero.

    Args:
        differences: of the two arms on each resample, (resample,).
        discordant: examples on which the two arms differ.
    """
    tail = min(np.mean(differences <= 0.0), np.mean(differences >= 0.0))
    return float(min(1.0, max(2.0 * tail, least_p(len(differences), discordant))))


def least_p(resamples: int, discordant: int) -> float:
    """The smallest p that a comparison can claim.

    Never below 1 / (resamples + 1), which resampling cannot see past, nor below 2 ** (1 − discordant), the least
    that an exact sign test could give: a handful of examples proves nothing.
    """
    return min(1.0, max(1.0 / (resamples + 1), 2.0 ** (1 - discordant)))


def swap_p(a: SufficientStatistics, b: SufficientStatistics, plan: BootstrapPlan) -> float:
    """Two-sided p that two arms differ in a metric by chance alone: their examples are exchanged at random.

    Exact at any size and for any metric of sums, since under the null which arm gave which answer means nothing.

    Args:
        a: what each example, or cluster of dependent ones, adds to the one arm.
        b: the same of the other arm, in the same order.
        plan: ten permutations for each of its resamples; and the seed.

    Source: Noreen 1989, approximate randomization; Besag & Clifford 1991 for counting the observation itself.
    """
    observed = abs(b.score - a.score) - 1e-12
    if not (a.counts != b.counts).any() or observed <= 0.0:
        return 1.0
    gains, rng = b.counts - a.counts, generator(plan.seed, "exchanged")
    of_a, of_b = a.counts.sum(axis=0), b.counts.sum(axis=0)
    extreme = 0
    for _ in range(10):
        swapped = rng.integers(0, 2, (plan.resamples, len(gains))) @ gains  # float64 (permutation, count)
        extreme += int(np.sum(np.abs(b.read(of_b - swapped) - a.read(of_a + swapped)) >= observed))
    return (extreme + 1) / (10 * plan.resamples + 1)


def mcnemar(right_a: Sequence[bool], right_b: Sequence[bool]) -> float:
    """Exact two-sided p that two arms are right equally often, from the examples that only one of them got right.

    Source: McNemar 1947, in its exact binomial form. Without such an example, p is 1.
    """
    from scipy.stats import binomtest

    pairs = list(zip(right_a, right_b, strict=True))
    only_a = sum(a and not b for a, b in pairs)
    only_b = sum(b and not a for a, b in pairs)
    return float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _resamples(examples: int, plan: BootstrapPlan) -> Iterator[np.ndarray]:
    rng = generator(plan.seed, "bootstrap")
    for _ in range(plan.resamples):
        yield rng.integers(0, examples, examples)  # int64 (example,)
