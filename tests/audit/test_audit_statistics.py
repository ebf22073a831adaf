"""The statistics of the audit against known values."""

import numpy as np
import pytest
from scipy.stats import fisher_exact, norm

from multitune.audit.statistics import PRIOR_SHARE, Crossing, combined_p, log_odds, p_values, ratio, wilson


def crossing(both: int, term: int, label: int, rows: int) -> Crossing:
    return Crossing(np.array([both]), np.array([term]), np.array([label]), rows)


def test_wilson_gives_the_textbook_values() -> None:
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_ratio_turns_round_with_its_counts() -> None:
    value, low, high = ratio(30, 10)
    assert low < value < high
    assert ratio(10, 30) == pytest.approx((1 / value, 1 / high, 1 / low))
    assert ratio(0, 0)[1] < 1 < ratio(0, 0)[2]


def test_log_odds_are_those_of_the_paper() -> None:
    alpha, weight = (
        PRIOR_SHARE * 30,
        PRIOR_SHARE * 400,
    )  # 30 of 400 rows mention the term, 20 of them among the 100 with the label
    inside, outside = 20 + alpha, 10 + alpha
    delta = np.log(inside / (100 + weight - inside)) - np.log(outside / (300 + weight - outside))
    expected = delta / np.sqrt(1 / inside + 1 / outside)
    assert log_odds(crossing(20, 30, 100, 400))[0] == pytest.approx(expected)


def test_a_term_that_is_everywhere_equally_often_has_no_log_odds() -> None:
    assert log_odds(crossing(10, 40, 100, 400))[0] == pytest.approx(0, abs=1e-9)


def test_no_p_is_smaller_than_that_of_the_exact_test() -> None:
    one = crossing(4, 5, 20, 400)
    exact = fisher_exact([[4, 1], [16, 379]], alternative="greater").pvalue
    assert p_values(one, np.array([50.0]))[0] == pytest.approx(2 * exact)
    assert p_values(one, np.array([0.0]))[0] == 1.0


def test_two_weak_tests_of_one_direction_are_one_stronger_one() -> None:
    p, weights = np.array([0.04, 0.04]), np.array([1.0, 1.0])
    assert combined_p(p, np.array([1, 1]), weights) == pytest.approx(2 * norm.sf(np.sqrt(2) * norm.isf(0.02)))
    assert combined_p(p, np.array([1, -1]), weights) == pytest.approx(1.0)
