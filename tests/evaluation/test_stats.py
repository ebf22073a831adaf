"""Laws and known values of the paired tests."""

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sequence import backward_transfer
from multitune.core.results.scores import Difference
from multitune.evaluation.stats import (
    BootstrapPlan,
    bootstrap_p,
    mcnemar,
    mean_differences,
    percentile_interval,
    resampled_scores,
    scores_from_statistics,
    swap_p,
)
from multitune.tasks.metrics import METRICS
from multitune.tasks.sufficient_statistics import SufficientStatistics

PLAN = BootstrapPlan(resamples=300)


def accuracy(values, golds) -> float:
    return fmean(value == gold for value, gold in zip(values, golds, strict=True))


def paired_differences(metric, a, b, golds, plan) -> np.ndarray:
    return resampled_scores(metric, b, golds, plan) - resampled_scores(metric, a, golds, plan)


def paired_interval(metric, a, b, golds, plan) -> Difference:
    difference = metric(b, golds) - metric(a, golds)
    return percentile_interval(paired_differences(metric, a, b, golds, plan), difference, plan.confidence)


def mean_interval(a, b, plan) -> Difference:
    return percentile_interval(mean_differences(a, b, plan), fmean(b) - fmean(a), plan.confidence)


def two_arms(examples=200):
    rng = np.random.default_rng(1)
    golds = rng.integers(0, 3, examples).tolist()
    noise_a, noise_b = rng.random(examples) < 0.5, rng.random(examples) < 0.2
    return (
        [gold + bool(wrong) for gold, wrong in zip(golds, noise_a, strict=True)],
        [gold + bool(wrong) for gold, wrong in zip(golds, noise_b, strict=True)],
        golds,
    )


def test_the_fast_interval_equals_the_general_one():
    a, b, golds = two_arms()
    right_a, right_b = ([float(v == g) for v, g in zip(arm, golds, strict=True)] for arm in (a, b))
    fast, general = mean_interval(right_a, right_b, PLAN), paired_interval(accuracy, a, b, golds, PLAN)
    assert (fast.low, fast.high, fast.difference) == pytest.approx((general.low, general.high, general.difference))


def test_the_difference_is_the_second_arm_less_the_first():
    a, b, golds = two_arms()
    interval = paired_interval(accuracy, a, b, golds, PLAN)
    assert interval.difference == pytest.approx(accuracy(b, golds) - accuracy(a, golds))
    assert 0 < interval.low < interval.difference < interval.high


def test_exchanging_the_arms_mirrors_the_interval():
    a, b, golds = two_arms()
    one, other = paired_interval(accuracy, a, b, golds, PLAN), paired_interval(accuracy, b, a, golds, PLAN)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    a, b, golds = two_arms()
    one, same, other = (paired_interval(accuracy, a, b, golds, BootstrapPlan(300, 0.95, seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_a_higher_confidence_gives_a_wider_interval():
    a, b, golds = two_arms()
    narrow, wide = (paired_interval(accuracy, a, b, golds, BootstrapPlan(300, level)) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_intervals_cover_the_truth_about_as_often_as_they_claim():
    rng = np.random.default_rng(5)
    gains = rng.normal(0.3, 1.0, (200, 80))
    intervals = [mean_interval([0.0] * 80, gain.tolist(), BootstrapPlan(200, 0.9)) for gain in gains]
    assert 0.82 <= fmean(interval.low <= 0.3 <= interval.high for interval in intervals) <= 0.96


@pytest.mark.parametrize("examples", [1, 2, 50])
def test_identical_arms_show_nothing(examples):
    values = list(range(examples))
    interval = paired_interval(accuracy, values, values, values, PLAN)
    assert (interval.low, interval.high, interval.difference) == (0.0, 0.0, 0.0)
    assert bootstrap_p(paired_differences(accuracy, values, values, values, PLAN), 0) == 1.0
    assert mcnemar([True] * examples, [True] * examples) == 1.0


def test_one_example_proves_nothing():
    assert bootstrap_p(paired_differences(accuracy, [0], [1], [1], PLAN), 1) == 1.0
    assert mcnemar([False], [True]) == 1.0


def test_a_clear_difference_meets_the_floor_of_the_resamples():
    assert bootstrap_p(np.full(999, 0.5), 100) == pytest.approx(1 / 1000)


def test_a_handful_of_examples_meets_the_floor_of_the_sign_test():
    assert bootstrap_p(np.full(999, 0.5), 4) == mcnemar([False] * 4, [True] * 4) == 0.125


def test_the_bootstrap_p_is_twice_the_smaller_tail():
    assert bootstrap_p(np.array([-1.0] * 10 + [1.0] * 190), 100) == pytest.approx(0.1)


def test_mcnemar_is_the_binomial_over_examples_that_one_arm_alone_got_right():
    # 1 against 9: 2 · (1 + 10) / 2 ** 10
    a = [True] + [False] * 9 + [True] * 30
    b = [False] + [True] * 9 + [True] * 30
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(22 / 1024)


def test_backward_transfer_is_the_mean_change_since_a_task_was_learned() -> None:
    assert backward_transfer({"a": 0.5, "b": 0.75}, {"a": 0.25, "b": 0.75}) == -0.125


LABELS = st.sampled_from(["a", "b", "c"])
ENTITIES = st.lists(st.tuples(st.sampled_from(["x", "y"]), st.just("ORG")), max_size=3)
LABEL_SETS = st.lists(LABELS, max_size=3, unique=True).map(sorted).map(tuple)
PATHS = st.sampled_from(["a", "a > b", "a > c", "b > c"])
ADDS_UP = {
    "macro_f1": LABELS,
    "micro_f1": LABEL_SETS,
    "balanced_accuracy": LABELS,
    "hierarchical_f1": PATHS,
    "entity_f1": ENTITIES,
}


def test_which_metrics_add_up() -> None:
    assert {name for name, metric in METRICS.items() if metric.statistics} == set(ADDS_UP)


@pytest.mark.parametrize("name", ADDS_UP)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_metric_by_sums_is_the_metric_on_every_resample(name, data):
    pairs = data.draw(st.lists(st.tuples(st.none() | ADDS_UP[name], ADDS_UP[name]), min_size=1, max_size=12))
    values, golds = zip(*pairs, strict=True)
    metric, plan = METRICS[name], BootstrapPlan(resamples=20)
    statistics = metric.statistics(values, golds)
    assert statistics.score == pytest.approx(metric.corpus(values, golds))
    assert scores_from_statistics(statistics, plan) == pytest.approx(
        resampled_scores(metric.corpus, values, golds, plan)
    )


def mean_of(right: list[int]) -> SufficientStatistics:
    return SufficientStatistics(
        np.array([[one, 1] for one in right], dtype=np.float64), lambda s: s[..., 0] / s[..., 1]
    )


def test_p_of_exchanged_arms_is_that_of_the_exact_test_where_answers_are_right_or_wrong() -> None:
    a, b = [1] * 2 + [0] * 10 + [1] * 20, [0] * 2 + [1] * 10 + [1] * 20
    exact = mcnemar([bool(one) for one in a], [bool(one) for one in b])
    assert 0.03 < exact < 0.05
    assert swap_p(mean_of(a), mean_of(b), BootstrapPlan(resamples=1000)) == pytest.approx(exact, abs=0.01)


def test_p_of_arms_that_do_not_differ_is_one() -> None:
    assert swap_p(mean_of([1, 0, 1]), mean_of([1, 0, 1]), BootstrapPlan()) == 1.0
    assert swap_p(mean_of([1, 0, 1]), mean_of([0, 1, 1]), BootstrapPlan()) == 1.0
