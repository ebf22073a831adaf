"""A group of rows against all other rows of its task: the difference in score, its interval, and an exact p.

The two sides hold different rows, so that nothing is paired between them: the interval resamples each side for itself.
p is that of a permutation test, in which group membership is dealt out anew: exact for every metric, however small a
group is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from multitune.core.records import Prediction
from multitune.core.results.scores import Difference
from multitune.core.seeds import generator
from multitune.evaluation.resampling import corpus_score, drawn_scores
from multitune.evaluation.seeds import DifferenceError, difference_error
from multitune.evaluation.stats import BootstrapPlan, percentile_interval
from multitune.tasks.metrics import Metric

ENOUGH = 20  # permutations at least as extreme, after which p is known well enough
Rows = Sequence[Prediction]
Chosen = np.ndarray  # bool (draw, row): the rows of each draw


@dataclass(frozen=True, slots=True)
class Answers:
    """What an adapter, and the base where it is compared with it, answered to a task's rows; all in one order."""

    adapter: str
    metric: Metric
    trainings: Sequence[Rows]  # of the adapter, one list per seed
    base: Rows | None = None


def gap(answers: Answers, member: np.ndarray, plan: BootstrapPlan, tests: int) -> tuple[Difference, float]:
    """The score of a group's rows − that of all others, and its p, not adjusted; over the seeds the mean.

    With a base: how much larger the gap is than the base's, on the same rows.

    Args:
        answers: the answers.
        member: whether a row belongs to the group, bool (row,).
        plan: resamples, confidence and seed.
        tests: that p will be adjusted for; so much the smaller p may become.
    """
    gaps = _Gaps(answers)
    by_seed = gaps.of(member[None])[:, 0]  # (seed,)
    observed = float(by_seed.mean())
    others = replace(plan, seed=plan.seed + 1)  # the two sides are drawn independently
    drawn = _drawn(answers, member, plan) - _drawn(answers, ~member, others)
    p = _permutation_p(gaps, member, observed, plan, tests)
    if len(by_seed) > 1:
        p = max(p, _error(drawn, by_seed, member).p(observed))
    return _interval(drawn, by_seed, member, plan), p


def group_score(answers: Answers, member: np.ndarray, plan: BootstrapPlan) -> Difference:
    """The score of a group's rows with its interval, over rows and seeds; a base is not looked at."""
    by_seed = np.array([corpus_score(answers.metric, rows_of(arm, member)) for arm in answers.trainings])
    return _interval(_drawn(replace(answers, base=None), member, plan), by_seed, member, plan)


def rows_of(arm: Rows, member: np.ndarray) -> list[Prediction]:
    """The answers to a group's rows."""
    return [row for row, chosen in zip(arm, member.tolist(), strict=True) if chosen]


def _interval(drawn: np.ndarray, by_seed: np.ndarray, member: np.ndarray, plan: BootstrapPlan) -> Difference:
    """Around the mean over the seeds."""
    mean = float(by_seed.mean())
    if len(by_seed) == 1:
        return percentile_interval(drawn, mean, plan.confidence)
    return _error(drawn, by_seed, member).interval(mean, plan.confidence)


def _error(drawn: np.ndarray, by_seed: np.ndarray, member: np.ndarray) -> DifferenceError:
    """Both sides of a gap come from the same trainings: what varies over the seeds is their difference."""
    return difference_error(drawn, np.zeros(len(by_seed)), by_seed, int(member.sum()))


class _Gaps:
    """The gap of any choice of rows, for each training."""

    def __init__(self, answers: Answers) -> None:
        self._trainings = [_subset_scores(answers.metric, rows) for rows in answers.trainings]
        self._base = _subset_scores(answers.metric, answers.base) if answers.base else None

    def of(self, chosen: Chosen) -> np.ndarray:
        """Float64 (seed, draw)."""
        others = ~chosen
        before = self._base(chosen) - self._base(others) if self._base else 0.0
        return np.stack([score(chosen) - score(others) - before for score in self._trainings])


def _subset_scores(metric: Metric, arm: Rows) -> Callable[[Chosen], np.ndarray]:
    """The score of an arm on chosen rows, float64 (draw,)."""
    if metric.statistics:
        statistics = metric.statistics([row.value for row in arm], [row.gold for row in arm])
        return lambda chosen: statistics.read(chosen.astype(np.float64) @ statistics.counts)
    scores = np.array([row.score for row in arm])
    if np.isclose(corpus_score(metric, arm), scores.mean(), atol=1e-9):
        return lambda chosen: chosen @ scores / chosen.sum(axis=1)
    return lambda chosen: np.array([corpus_score(metric, rows_of(arm, draw)) for draw in chosen])


def _drawn(answers: Answers, member: np.ndarray, plan: BootstrapPlan) -> np.ndarray:
    """The mean score over the seeds on resamples of some rows, less that of the base, float64 (resample,)."""
    drawn = [drawn_scores(answers.metric, rows_of(arm, member), plan) for arm in answers.trainings]
    mean = np.mean(drawn, axis=0)
    if answers.base is None:
        return mean
    return mean - drawn_scores(answers.metric, rows_of(answers.base, member), plan)


def _permutation_p(gaps: _Gaps, member: np.ndarray, observed: float, plan: BootstrapPlan, tests: int) -> float:
    """Two-sided p that a group of so many rows, chosen at random, shows such a gap.

    Draws go on until enough of them are as extreme, at most `tests` times the plan's resamples: p can then be small
    enough to stand an adjustment for so many tests.

    Source: Besag & Clifford 1991 for the sequential p.
    """
    random = generator(plan.seed, "groups", len(member), int(member.sum()))
    above = below = drawn = 0
    while min(above, below) < ENOUGH and drawn < plan.resamples * tests:
        chosen = np.zeros((plan.resamples, len(member)), dtype=bool)
        places = random.random(chosen.shape).argsort(axis=1)[:, : member.sum()]
        np.put_along_axis(chosen, places, values=True, axis=1)
        found = gaps.of(chosen).mean(axis=0)
        above += int(np.sum(found >= observed - 1e-12))
        below += int(np.sum(found <= observed + 1e-12))
        drawn += plan.resamples
    return min(1.0, 2.0 * (min(above, below) + 1) / (drawn + 1))
