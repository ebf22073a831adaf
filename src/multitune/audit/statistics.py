"""Rates with intervals, and how much more often a term stands with a label than chance puts it there."""

import math
from dataclasses import dataclass

import numpy as np

Z95 = 1.959964  # half-width of a 95% interval in standard errors
PRIOR_SHARE = 0.1  # weight of the prior, as a share of the rows


def wilson(count: int, of: int) -> tuple[float, float]:
    """95% interval of a proportion.

    Source: Wilson 1927.
    """
    if of == 0:
        return 0.0, 1.0
    share, square = count / of, Z95**2
    centre = (share + square / (2 * of)) / (1 + square / of)
    half = Z95 / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def ratio(first: int, second: int) -> tuple[float, float, float]:
    """first / second of two counts and its 95% interval, half a count added to each so that none is zero.

    Source: Haldane 1956 for the halves; the interval is that of a difference of two log Poisson rates.
    """
    a, b = first + 0.5, second + 0.5
    spread = math.exp(Z95 * math.sqrt(1 / a + 1 / b))
    return a / b, a / b / spread, a / b * spread


@dataclass(frozen=True, slots=True)
class Crossing:
    """Rows by whether they mention a term and whether they carry a label."""

    both: np.ndarray  # int64 (test,) rows with the term and the label
    with_term: np.ndarray  # int64 (test,)
    with_label: np.ndarray  # int64 (test,)
    rows: int  # of the set


def log_odds(crossing: Crossing) -> np.ndarray:
    """z of the log-odds of each term among rows with the label against rows without it, float64 (test,).

    With y rows that mention the term of n rows on each side, and α_w of α_0 rows of a prior that mentions the term as
    often as the whole set does, so that both sides are drawn to the same rate,
    δ = log((y_1 + α_w) / (n_1 + α_0 − y_1 − α_w)) − the same of side 2, and
    z = δ / sqrt(1 / (y_1 + α_w) + 1 / (y_2 + α_w)).
    Rows are counted where the source counts words: a row that repeats a term is still one row.

    Source: Monroe, Colaresi & Quinn 2008, "Fightin' Words", equations 16, 18 and 22.
    """
    weight = PRIOR_SHARE * crossing.rows
    alpha = PRIOR_SHARE * crossing.with_term
    with_label = crossing.both + alpha
    without = crossing.with_term - crossing.both + alpha
    odds = np.log(with_label / (crossing.with_label + weight - with_label))
    others = np.log(without / (crossing.rows - crossing.with_label + weight - without))
    return (odds - others) / np.sqrt(1 / with_label + 1 / without)


def p_values(crossing: Crossing, z: np.ndarray) -> np.ndarray:
    """Two-sided p of each test, float64 (test,): that of z, or of the exact test where that is larger.

    z is normal for large counts alone. Where labels are handed out at random, the exact test is right at any size.

    Source: Fisher 1935 for the exact test, two-sided as twice the smaller tail.
    """
    from scipy.stats import hypergeom, norm

    drawn = hypergeom(crossing.rows, crossing.with_label, crossing.with_term)
    exact = 2 * np.minimum(drawn.cdf(crossing.both), drawn.sf(crossing.both - 1))
    return np.minimum(1.0, np.maximum(exact, 2 * norm.sf(np.abs(z))))


def combined_p(p: np.ndarray, signs: np.ndarray, weights: np.ndarray) -> float:
    """Two-sided p that independent tests of one direction all are of chance.

    Args:
        p: two-sided, float64 (test,).
        signs: direction of each test, −1 or 1, (test,).
        weights: such as the square root of its rows, float64 (test,).

    Source: Stouffer 1949, weighted as in Liptak 1958.
    """
    from scipy.stats import norm

    scores = signs * norm.isf(np.minimum(p, 1.0) / 2)
    together = (weights * scores).sum() / math.sqrt((weights**2).sum())
    return float(2 * norm.sf(abs(together)))
