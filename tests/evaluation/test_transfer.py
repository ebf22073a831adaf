"""The transfer table: verdicts that need both tests, examples matched by id, and the summary over tasks."""

from dataclasses import replace

import numpy as np
import pytest

from multitune.core.errors import RunFolderError
from multitune.core.records import Prediction
from multitune.core.results.scores import Difference, TransferRow
from multitune.evaluation.resampling import score_interval
from multitune.evaluation.stats import BootstrapPlan, mean_differences, percentile_interval
from multitune.evaluation.transfer import (
    Arms,
    adjusted,
    compare,
    compare_seeds,
    summary,
    verdict,
)
from multitune.tasks.metrics import METRICS

PLAN = BootstrapPlan(resamples=300)


METRICS_OF_LABELS = ["accuracy", "macro_f1", "balanced_accuracy"]


def arm(right: list[bool]) -> list[Prediction]:
    """Predictions of the labels a and b in turn, right or wrong as told."""
    golds = ["ab"[place % 2] for place in range(len(right))]
    said = [gold if ok else "ba"[place % 2] for place, (gold, ok) in enumerate(zip(golds, right, strict=True))]
    return [
        Prediction("tweets", f"row{place:03d}", value, value, gold, float(value == gold))
        for place, (value, gold) in enumerate(zip(said, golds, strict=True))
    ]


def transfer(alone: list[bool], together: list[bool], metric="accuracy") -> TransferRow:
    return compare({"tweets": Arms(arm(alone), arm(together))}, {"tweets": METRICS[metric]}, PLAN).tasks[0]


@pytest.mark.parametrize("metric", METRICS_OF_LABELS)
def test_a_clear_gain_is_ahead_and_a_clear_loss_behind(metric):
    low, high = [True] * 30 + [False] * 70, [True] * 80 + [False] * 20
    assert transfer(low, high, metric).verdict == "ahead in this run"
    assert transfer(high, low, metric).verdict == "behind in this run"


@pytest.mark.parametrize("metric", METRICS_OF_LABELS)
def test_a_difference_within_the_noise_cannot_be_told(metric):
    alone = [place % 4 < 2 for place in range(100)]
    together = [place * 37 % 100 < 54 for place in range(100)]
    assert transfer(alone, together, metric).verdict == "cannot tell"


@pytest.mark.parametrize("metric", METRICS_OF_LABELS)
@pytest.mark.parametrize("examples", [1, 3])
def test_a_handful_of_examples_cannot_tell(metric, examples):
    assert transfer([False] * examples, [True] * examples, metric).verdict == "cannot tell"


def test_a_row_holds_the_scores_of_all_arms_and_their_difference():
    arms = Arms(arm([True, False] * 10), arm([True] * 20), arm([False] * 20))
    (row,) = compare({"tweets": arms}, {"tweets": METRICS["accuracy"]}, PLAN).tasks
    assert (row.base, row.alone, row.together, row.difference, row.examples) == (0.0, 0.5, 1.0, 0.5, 20)
    assert row.p == row.p_holm == pytest.approx(2 / 2**10)


def test_predictions_are_matched_by_id_and_not_by_place():
    alone, together = arm([True, False] * 20), arm([True] * 20 + [False] * 20)
    straight = compare({"tweets": Arms(alone, together)}, {"tweets": METRICS["macro_f1"]}, PLAN)
    shuffled = compare(
        {"tweets": Arms(alone[::-1], together[7:] + together[:7])}, {"tweets": METRICS["macro_f1"]}, PLAN
    )
    assert straight == shuffled


def test_a_gain_in_a_rare_label_alone_is_judged_by_the_metric_that_sees_it():
    # Ten rare rows become right, ten of many common ones wrong: as many right answers as before, a better macro-F1.
    golds = ["common"] * 400 + ["rare"] * 20
    before = ["common"] * 420
    after = ["rare"] * 10 + ["common"] * 390 + ["rare"] * 10 + ["common"] * 10
    alone, together = (
        [
            Prediction("tweets", f"row{place:03d}", value, value, gold, float(value == gold))
            for place, (value, gold) in enumerate(zip(said, golds, strict=True))
        ]
        for said in (before, after)
    )
    (row,) = compare({"tweets": Arms(alone, together)}, {"tweets": METRICS["macro_f1"]}, PLAN).tasks
    assert row.p_mcnemar == 1.0
    assert row.verdict == "ahead in this run"


def test_p_is_mcnemar_where_the_metric_is_the_share_of_right_answers():
    row = transfer([True] * 10 + [False] * 30, [True] * 30 + [False] * 10)
    assert row.p == row.p_mcnemar == pytest.approx(2 / 2**20)


def test_a_mean_of_scores_that_are_neither_right_nor_wrong_has_no_mcnemar():
    alone, together = (
        [replace(row, output=said, value=said, gold="net sales rose") for row in arm([True] * 30)]
        for said in ("net sales fell", "net sales rose")
    )
    score = METRICS["rouge_l"].example
    arms = Arms(*([replace(row, score=score(row.value, row.gold)) for row in side] for side in (alone, together)))
    (row,) = compare({"texts": arms}, {"texts": METRICS["rouge_l"]}, PLAN).tasks
    assert row.p_mcnemar is None
    assert row.verdict == "ahead in this run"


def test_the_interval_of_a_mean_is_that_of_its_scores():
    alone, together = [True, False] * 20, [True] * 30 + [False] * 10
    row = transfer(alone, together)
    interval = percentile_interval(mean_differences(alone, together, PLAN), 0.25, PLAN.confidence)
    assert (row.low, row.high, row.difference) == pytest.approx((interval.low, interval.high, interval.difference))


def test_more_tasks_make_each_verdict_stricter():
    gain = Arms(arm([False] * 7 + [True] * 20), arm([True] * 27))  # p = 2 / 2 ** 7
    (alone,) = compare({"a": gain}, {"a": METRICS["accuracy"]}, PLAN).tasks
    among_ten = compare(
        {str(place): gain for place in range(10)}, {str(place): METRICS["accuracy"] for place in range(10)}, PLAN
    )
    assert alone.verdict == "ahead in this run"
    assert {row.verdict for row in among_ten.tasks} == {"cannot tell"}


def test_one_task_that_is_compared_ten_times_is_adjusted_for_all_ten():
    row = transfer([False] * 7 + [True] * 20, [True] * 27)
    assert row.verdict == "ahead in this run"
    assert {one.verdict for one in adjusted([row] * 10, PLAN.confidence)} == {"cannot tell"}
    assert [one.p_holm for one in adjusted([row] * 10, PLAN.confidence)] == pytest.approx([10 * row.p] * 10)


def test_only_several_seeds_show_that_training_helped_or_hurt():
    pairs = [Arms(arm([False] * 20 + [True] * 10), arm([True] * 30))] * 3
    (one,) = compare_seeds({"a": pairs[:1]}, {"a": METRICS["accuracy"]}, PLAN).tasks
    table = compare_seeds({"a": pairs}, {"a": METRICS["accuracy"]}, PLAN)
    assert (one.verdict, one.seeds) == ("ahead in this run", 1)
    assert (table.tasks[0].verdict, table.tasks[0].seeds) == ("helped", 3)
    assert table.summary.verdicts == {"helped": ("a",), "hurt": (), "cannot tell": ()}


def test_a_verdict_needs_both_the_interval_and_p():
    assert verdict(Difference(low=0.1, high=0.3, difference=0.2), 0.01, 0.95) == "ahead in this run"
    assert verdict(Difference(low=-0.3, high=-0.1, difference=-0.2), 0.01, 0.95) == "behind in this run"
    assert verdict(Difference(low=0.1, high=0.3, difference=0.2), 0.06, 0.95) == "cannot tell"
    assert verdict(Difference(low=0.0, high=0.3, difference=0.2), 0.01, 0.95) == "cannot tell"


@pytest.mark.parametrize(
    ("together", "message"),
    [
        (arm([True] * 9), r"'together' \(9 examples\) and 'alone' \(10\) hold different examples, such as 'row009'"),
        (arm([True] * 9) + arm([True] * 1), "'together' holds example 'row000' twice"),
        ([], "the predictions of 'together' are empty"),
    ],
)
def test_arms_with_different_examples_are_refused(together, message):
    with pytest.raises(RunFolderError, match=message):
        compare({"tweets": Arms(arm([True] * 10), together)}, {"tweets": METRICS["accuracy"]}, PLAN)


def test_the_summary_gives_mean_and_median_relative_change_and_points():
    row = transfer([True, False] * 10, [True] * 20)
    rows = [
        row.model_copy(update={"task": task, "alone": alone, "difference": difference, "verdict": told})
        for task, alone, difference, told in [
            ("a", 0.5, 0.1, "ahead in this run"),
            ("b", 0.8, -0.08, "behind in this run"),
            ("c", -0.5, 0.2, "ahead in this run"),
            ("d", 0.01, 0.3, "cannot tell"),
        ]
    ]
    total = summary(rows, Difference(low=0.05, high=0.2, difference=0.13))
    assert total.delta_m == pytest.approx((0.2 - 0.1 + 0.4) / 3)
    assert total.median_change == pytest.approx(0.2)
    assert (total.mean_points, total.points_low, total.points_high) == pytest.approx((13.0, 5.0, 20.0))
    assert total.left_out == ("d",)
    assert total.verdicts == {"ahead in this run": ("a", "c"), "behind in this run": ("b",), "cannot tell": ("d",)}


def test_a_summary_without_a_baseline_to_divide_by_has_no_relative_change():
    total = summary(
        [transfer([True] * 5, [True] * 5).model_copy(update={"alone": 0.0})],
        Difference(low=0.0, high=0.0, difference=0.0),
    )
    assert (total.delta_m, total.median_change, total.left_out) == (None, None, ("tweets",))


def gained(right: list[bool], task: int) -> list[bool]:
    """Four of the right ones turned wrong and ten of the wrong ones right, other rows for each task."""
    order = np.random.default_rng(task).permutation(len(right))
    lost, won = ([place for place in order if right[place] is was] for was in (True, False))
    return [(ok and place not in lost[:4]) or place in won[:10] for place, ok in enumerate(right)]


def test_many_small_gains_that_nobody_can_tell_one_by_one_are_told_in_their_mean():
    alone = [place % 5 < 2 for place in range(100)]
    arms = {str(task): Arms(arm(alone), arm(gained(alone, task))) for task in range(10)}
    table = compare(arms, dict.fromkeys(arms, METRICS["accuracy"]), PLAN)
    assert {row.verdict for row in table.tasks} == {"cannot tell"}
    assert table.summary.mean_points == pytest.approx(100 * sum(row.difference for row in table.tasks) / 10)
    assert 0.0 < table.summary.points_low < table.summary.mean_points < table.summary.points_high


def test_the_mean_of_one_task_has_the_interval_of_its_row():
    arms = [Arms(arm([True, False] * 20), arm([True] * ok + [False] * (40 - ok))) for ok in (25, 30)]
    for pairs in (arms, arms[:1]):
        table = compare_seeds({"a": pairs}, {"a": METRICS["accuracy"]}, PLAN)
        (row,) = table.tasks
        total = table.summary.points_low, table.summary.mean_points, table.summary.points_high
        assert total == pytest.approx((100 * row.low, 100 * row.difference, 100 * row.high))


@pytest.mark.parametrize("metric", METRICS_OF_LABELS)
def test_the_interval_of_a_score_holds_it_and_narrows_with_the_examples(metric):
    few, many = arm([True, True, False] * 10), arm([True, True, False] * 300)
    widths = []
    for rows in (few, many):
        low, high = score_interval(METRICS[metric], rows, PLAN)
        score = METRICS[metric].corpus([row.value for row in rows], [row.gold for row in rows])
        assert low < score < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_the_order_of_the_rows_moves_no_interval_of_a_score():
    rows = arm([True, False, True, True] * 8)
    for metric in METRICS_OF_LABELS:
        assert score_interval(METRICS[metric], rows, PLAN) == score_interval(METRICS[metric], rows[::-1], PLAN)


@pytest.mark.parametrize("rows", [100, 400])
def test_four_of_five_tests_show_the_difference_that_is_called_detectable(rows: int) -> None:
    random = np.random.default_rng(5)

    def trained(gain: float) -> Arms:
        hard = random.random(rows)  # the same rows are hard for both
        alone, together = (hard + 0.3 * random.normal(size=rows) < level for level in (0.5, 0.5 + gain))
        return Arms(arm(alone.tolist()), arm(together.tolist()))

    null = compare({"a": trained(0.0)}, {"a": METRICS["accuracy"]}, PLAN)
    size = null.summary.detectable["a"]
    shown = [
        compare({"a": trained(size)}, {"a": METRICS["accuracy"]}, PLAN).tasks[0].verdict != "cannot tell"
        for _ in range(100)
    ]
    assert 0.6 < np.mean(shown) < 0.95


def test_a_decided_task_has_no_detectable_difference() -> None:
    table = compare({"a": Arms(arm([False] * 30), arm([True] * 30))}, {"a": METRICS["accuracy"]}, PLAN)
    assert table.summary.detectable == {}
