"""A difference of two arms that were each trained with several seeds: its error, its interval and its p.

Two things are left to chance: which rows the test set holds, and which seeds trained the arms. The error of the mean
difference is the sum of both. Rows: the bootstrap variance of the mean over the seeds, both arms on the same rows.
Seeds: the variance of each arm's scores over its seeds, divided by their number (Welch; arms share no training).

A bootstrap that draws the seeds as well is too narrow, since two or three of them show less than their variance: in
simulated families of four tasks without any difference it named a task in 10 to 21% of cases, this test in 4 to 8%
(`make bench PART=null_verdicts`).
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from multitune.core.results.scores import Difference


@dataclass(frozen=True, slots=True)
class DifferenceError:
    """Variances of a mean difference, in the square of the metric's unit."""

    rows: float  # over test sets of as many rows
    seeds: float  # over trainings with as many seeds; 0 with a single one, which shows nothing of it
    freedom_rows: float  # degrees of freedom
    freedom_seeds: float

    @property
    def total(self) -> float:
        """Standard error of the difference, in the metric's unit."""
        return sqrt(self.rows + self.seeds)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the sum. Source: Satterthwaite 1946."""
        parts = self.rows**2 / self.freedom_rows + (self.seeds**2 / self.freedom_seeds if self.seeds else 0.0)
        return (self.rows + self.seeds) ** 2 / parts if parts else self.freedom_rows

    def interval(self, difference: float, confidence: float) -> Difference:
        """The difference with its interval of Student's t."""
        from scipy.stats import t

        half = float(t.ppf((1.0 + confidence) / 2.0, self.freedom)) * self.total
        return Difference(difference=difference, low=difference - half, high=difference + half)

    def p(self, difference: float) -> float:
        """Two-sided p that the difference is zero."""
        from scipy.stats import t

        if not self.total:
            return 1.0 if not difference else 0.0
        return float(2.0 * t.sf(abs(difference) / self.total, self.freedom))


def difference_error(drawn: np.ndarray, before: np.ndarray, after: np.ndarray, rows: int) -> DifferenceError:
    """The error of the mean difference over seeds.

    Args:
        drawn: the mean difference over the seeds on each resample of the rows, (resample,).
        before: the reference's score with each seed, (seed,); all alike where it was not trained.
        after: the other arm's, (seed,).
        rows: in the test set.
    """
    seeds = len(before)
    of_rows, freedom_rows = float(drawn.var()), max(rows - 1.0, 1.0)
    if seeds == 1:
        return DifferenceError(of_rows, 0.0, freedom_rows, 1.0)
    parts = [float(scores.var(ddof=1)) / seeds for scores in (before, after)]
    whole = sum(parts)
    # Of two seeds the split between the arms is not known well enough to count on more than one degree of freedom.
    welch = whole**2 / sum(part**2 for part in parts) * (seeds - 1) if whole else 1.0
    return DifferenceError(of_rows, whole, freedom_rows, welch if seeds > 2 else 1.0)
