"""What training together did to each task against training alone: helped, hurt or cannot tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isclose
from statistics import fmean, median
from typing import Literal

import numpy as np

from multitune.core.errors import RunFolderError
from multitune.core.records import Prediction
from multitune.evaluation.stats import (
    BootstrapPlan,
    Interval,
    bootstrap_p,
    holm,
    mcnemar,
    mean_differences,
    paired_differences,
    percentile_interval,
    resampled_scores,
)
from multitune.tasks.metrics import Metric

Verdict = Literal["helped", "hurt", "cannot tell"]
SMALLEST_BASELINE = 0.05  # a change relative to less than this explodes


@dataclass(frozen=True, slots=True)
class Arms:
    """Predictions for the same examples of one task by the adapter of its own and by the one trained together."""

    alone: Sequence[Prediction]
    together: Sequence[Prediction]
    base: Sequence[Prediction] | None = None


@dataclass(frozen=True, slots=True)
class TaskTransfer:
    """One task's row of the transfer table; scores and differences are in the metric's unit."""

    task: str
    metric: str
    base: float | None  # None: the base model was not measured
    alone: float
    together: float
    difference: float  # together − alone
    low: float
    high: float
    p: float
    p_holm: float  # adjusted for the number of tasks compared
    verdict: Verdict
    examples: int
    p_mcnemar: float | None  # of the share of right answers; None: this metric's examples are not right or wrong


@dataclass(frozen=True, slots=True)
class TransferSummary:
    """The table over all tasks; relative changes are None where no task has a baseline to divide by."""

    delta_m: float | None  # mean of (together − alone) / |alone|
    median_change: float | None  # median of the same
    mean_points: float  # mean of 100 · (together − alone), over all tasks
    left_out: tuple[str, ...]  # tasks without a relative change: |alone| is below 0.05
    verdicts: dict[Verdict, tuple[str, ...]]  # verdict -> tasks


def compare(arms: Mapping[str, Arms], metrics: Mapping[str, Metric], plan: BootstrapPlan) -> list[TaskTransfer]:
    """The transfer table: for each task, together against alone.

    The interval is a paired bootstrap one. p tests the metric itself: exact McNemar where that is the share of right
    answers, else from the same bootstrap; then Holm adjusts it over the tasks. A verdict needs both, an interval
    without zero and an adjusted p below 1 − confidence; this is the stricter of the two, and all else is "cannot
    tell". Where answers are right or wrong and the metric is another one, such as macro-F1, McNemar stands beside
    it: it tests the share of right answers, which can stay the same while macro-F1 moves.

    Args:
        arms: task -> predictions, matched by id; their order is free.
        metrics: task -> its metric.
        plan: resamples, confidence and seed.

    Raises:
        RunFolderError: two arms of a task hold different examples, an example twice, or none.
    """
    rows = [_one(task, group, metrics[task], plan) for task, group in arms.items()]
    adjusted = holm({row.task: row.p for row in rows})
    return [
        replace(row, p_holm=adjusted[row.task], verdict=verdict(_interval(row), adjusted[row.task], plan.confidence))
        for row in rows
    ]


def verdict(interval: Interval, p: float, confidence: float) -> Verdict:
    """helped or hurt where the interval leaves out zero and p is below 1 − confidence; else cannot tell."""
    if p < 1.0 - confidence:
        if interval.low > 0.0:
            return "helped"
        if interval.high < 0.0:
            return "hurt"
    return "cannot tell"


def summary(transfers: Sequence[TaskTransfer]) -> TransferSummary:
    """Mean and median relative change and mean points over the tasks, and who was helped or hurt.

    Source: Δm of Maninis et al. 2019, arXiv:1904.08918. It explodes where a baseline is near zero, so those tasks
    are left out of it and named.
    """
    assert transfers, "a summary needs at least one task"
    counted = [row for row in transfers if abs(row.alone) >= SMALLEST_BASELINE]
    changes = [row.difference / abs(row.alone) for row in counted]
    every: tuple[Verdict, ...] = ("helped", "hurt", "cannot tell")
    return TransferSummary(
        delta_m=fmean(changes) if changes else None,
        median_change=median(changes) if changes else None,
        mean_points=100.0 * fmean(row.difference for row in transfers),
        left_out=tuple(row.task for row in transfers if row not in counted),
        verdicts={name: tuple(row.task for row in transfers if row.verdict == name) for name in every},
    )


def _one(task: str, arms: Arms, metric: Metric, plan: BootstrapPlan) -> TaskTransfer:
    """One task's row as if it were the only one."""
    alone = _in_order(task, "alone", arms.alone)
    together = _matched(task, "together", arms.together, alone)
    before, after = corpus_score(metric, alone), corpus_score(metric, together)
    p_mcnemar = mcnemar(_right(alone), _right(together)) if metric.right_wrong else None
    differences, is_mean = resampled(metric, alone, together, plan)
    discordant = sum(a.value != b.value for a, b in zip(alone, together, strict=True))
    p = p_mcnemar if is_mean and p_mcnemar is not None else bootstrap_p(differences, discordant)
    interval = percentile_interval(differences, after - before, plan.confidence)
    return TaskTransfer(
        task=task,
        metric=metric.name,
        base=None if arms.base is None else corpus_score(metric, _matched(task, "base", arms.base, alone)),
        alone=before,
        together=after,
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        p=p,
        p_holm=p,
        verdict=verdict(interval, p, plan.confidence),
        examples=len(alone),
        p_mcnemar=p_mcnemar,
    )


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
    values_a, values_b = ([row.value for row in arm] for arm in (one, other))
    return paired_differences(metric.corpus, values_a, values_b, [row.gold for row in one], plan), False


def score_interval(metric: Metric, arm: Sequence[Prediction], plan: BootstrapPlan) -> tuple[float, float]:
    """The ends of the interval of one arm's own score; a difference of two arms is told by `compare`, which pairs."""
    rows = sorted(arm, key=lambda row: row.id)
    scores = [row.score for row in rows]
    score = corpus_score(metric, rows)
    if isclose(score, fmean(scores), abs_tol=1e-9):
        draws = mean_differences([0.0] * len(rows), scores, plan)
    else:
        draws = resampled_scores(metric.corpus, [row.value for row in rows], [row.gold for row in rows], plan)
    interval = percentile_interval(draws, score, plan.confidence)
    return interval.low, interval.high


def corpus_score(metric: Metric, arm: Sequence[Prediction]) -> float:
    """The metric over all predictions of an arm."""
    return float(metric.corpus([row.value for row in arm], [row.gold for row in arm]))


def _interval(row: TaskTransfer) -> Interval:
    return Interval(row.low, row.high, row.difference)


def _right(arm: list[Prediction]) -> list[bool]:
    return [row.score > 0.5 for row in arm]


def _in_order(task: str, name: str, arm: Sequence[Prediction]) -> list[Prediction]:
    """By id, so that the order of a file moves no interval."""
    rows = sorted(arm, key=lambda row: row.id)
    if not rows:
        raise RunFolderError(f"task {task!r}: the predictions of {name!r} are empty. Evaluate it again")
    twice = [row.id for row, after in pairwise(rows) if row.id == after.id]
    if twice:
        raise RunFolderError(f"task {task!r}: {name!r} holds example {twice[0]!r} twice. Evaluate it again")
    return rows


def _matched(task: str, name: str, arm: Sequence[Prediction], alone: list[Prediction]) -> list[Prediction]:
    rows = _in_order(task, name, arm)
    strangers = {row.id for row in rows} ^ {row.id for row in alone}
    if strangers:
        raise RunFolderError(
            f"task {task!r}: {name!r} ({len(rows)} examples) and 'alone' ({len(alone)}) hold different examples, such "
            f"as {min(strangers)!r}. Evaluate both on the same split with the same limit"
        )
    return rows
