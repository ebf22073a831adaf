"""A metric on resampled rows: of two arms on the same rows, and of one arm alone."""

from collections.abc import Sequence
from math import isclose
from statistics import fmean

import numpy as np

from multitune.core.records import Prediction
from multitune.evaluation.stats import (
    BootstrapPlan,
    mean_differences,
    percentile_interval,
    resampled_scores,
    scores_from_statistics,
)
from multitune.tasks.metrics import Metric


def resampled(
    metric: Metric, one: Sequence[Prediction], other: Sequence[Prediction], plan: BootstrapPlan
) -> tuple[np.ndarray, bool]:
    """other − one on each resample, float64 (resample,), and whether the metric is the mean of its examples' scores.

    Both arms hold the same examples in the same order.
    """
    scores_a, scores_b = ([row.score for row in arm] for arm in (one, other))
    # Seen in the numbers: a mean is resampled at once, and need not score long texts a thousand times over.
    if all(isclose(corpus_score(metric, arm), fmean(row.score for row in arm), abs_tol=1e-9) for arm in (one, other)):
        return mean_differences(scores_a, scores_b, plan), True
    return _drawn(metric, other, plan) - _drawn(metric, one, plan), False


def drawn_scores(metric: Metric, arm: Sequence[Prediction], plan: BootstrapPlan) -> np.ndarray:
    """An arm's score on each resample of its rows, float64 (resample,)."""
    scores = [row.score for row in arm]
    if isclose(corpus_score(metric, arm), fmean(scores), abs_tol=1e-9):
        return mean_differences([0.0] * len(scores), scores, plan)
    return _drawn(metric, arm, plan)


def _drawn(metric: Metric, arm: Sequence[Prediction], plan: BootstrapPlan) -> np.ndarray:
    values, golds = [row.value for row in arm], [row.gold for row in arm]
    if metric.statistics:
        return scores_from_statistics(metric.statistics(values, golds), plan)
    return resampled_scores(metric.corpus, values, golds, plan)


def score_interval(metric: Metric, arm: Sequence[Prediction], plan: BootstrapPlan) -> tuple[float, float]:
    """The ends of the interval of one arm's own score; for the difference of two arms see `compare`, which pairs."""
    rows = sorted(arm, key=lambda row: row.id)
    interval = percentile_interval(drawn_scores(metric, rows, plan), corpus_score(metric, rows), plan.confidence)
    return interval.low, interval.high


def corpus_score(metric: Metric, arm: Sequence[Prediction]) -> float:
    """The metric over all predictions of an arm."""
    return float(metric.corpus([row.value for row in arm], [row.gold for row in arm]))
