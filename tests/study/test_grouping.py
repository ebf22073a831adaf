"""Which few combinations serve all tasks, and what following a prediction costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.core.records import Segments
from multitune.study.estimate import all_members
from multitune.study.grouping import best_grouping
from multitune.study.ladder import compare_rungs, regret, rungs
from multitune.study.overlap import embedding_similarity, mean_affinity, vocabulary_overlap
from multitune.study.synergy import group_effects, helps, higher_order, mean_effects

NAN = np.nan


def gains_of(members: np.ndarray, seed: int) -> np.ndarray:
    return np.where(members, np.random.default_rng(seed).normal(size=members.shape), np.nan)


@given(st.integers(0, 200))
def test_every_task_is_served_by_the_best_of_the_chosen_that_holds_it(seed: int) -> None:
    members = all_members(4)
    gains = gains_of(members, seed)
    found = best_grouping(gains, worth=0.05)
    for task, row in enumerate(found.serves):
        assert members[row, task] and row in found.chosen
        assert gains[row, task] == max(gains[other, task] for other in found.chosen if members[other, task])
    assert set(found.serves) == set(found.chosen)


@given(st.integers(0, 50))
def test_a_higher_price_never_takes_more_adapters(seed: int) -> None:
    gains = gains_of(all_members(4), seed)
    counts = [len(best_grouping(gains, worth).chosen) for worth in (0.0, 0.1, 0.5, 5.0)]
    assert counts == sorted(counts, reverse=True)


def test_without_a_price_each_task_takes_its_best() -> None:
    gains = gains_of(all_members(3), 1)
    assert best_grouping(gains, 0.0).gain == pytest.approx(np.nanmax(gains, axis=0).mean())


def test_tasks_that_hurt_each_other_are_kept_apart() -> None:
    members = all_members(3)
    gains = np.where(members, 0.0, NAN)
    gains[0b011 - 1, :2] = 0.2  # the first two help each other
    gains[0b111 - 1] = -0.3
    found = best_grouping(gains, 0.01)
    assert {tuple(members[row].tolist()) for row in found.chosen} == {(True, True, False), (False, False, True)}


def test_what_was_not_measured_cannot_be_chosen() -> None:
    gains = np.full((7, 3), NAN)
    for task, row in enumerate((0, 1, 3)):
        gains[row, task] = 0.0
    assert set(best_grouping(gains, 0.0).chosen) == {0, 1, 3}


def test_a_rung_that_is_the_truth_correlates_fully_and_regrets_nothing() -> None:
    truth = gains_of(all_members(4), 3)
    rung = compare_rungs("cheap", "dear", 2 * truth + 1, truth, 100 * truth, seed=1)
    assert rung.rank_correlation == pytest.approx(1.0) and rung.regret == 0.0
    assert rung.pairs == int((~np.isnan(truth)).sum())


def test_a_rung_turned_around_correlates_fully_the_other_way_and_regrets_most() -> None:
    truth = gains_of(all_members(4), 3)
    rung = compare_rungs("cheap", "dear", -truth, truth, 100 * truth, seed=1)
    worst = np.mean([100 * (np.nanmax(truth[:, t]) - np.nanmin(truth[:, t])) for t in range(4)])
    assert rung.rank_correlation == pytest.approx(-1.0) and rung.regret == pytest.approx(worst)


def test_regret_counts_only_what_was_measured() -> None:
    predicted, points = np.array([[3.0], [2.0], [1.0]]), np.array([[NAN], [5.0], [9.0]])
    assert regret(predicted, points) == 4.0


def test_each_rung_is_with_reference_the_next_and_against_the_full_runs() -> None:
    truth = gains_of(all_members(3), 5)
    found = rungs({"words": truth, "gradients": truth}, truth, truth, 1)
    assert [(r.rung, r.against) for r in found] == [
        ("words", "gradients"), ("words", "full runs"), ("gradients", "full runs")
    ]  # fmt: skip


GAINS = {
    ("a",): {"a": 0.0}, ("b",): {"b": 0.0}, ("c",): {"c": 0.0},
    ("a", "b"): {"a": 3.0, "b": 1.0}, ("a", "c"): {"a": -2.0, "c": 0.5}, ("b", "c"): {"b": 0.0, "c": 0.0},
    ("a", "b", "c"): {"a": 2.0, "b": 1.0, "c": 1.0},
}  # fmt: skip


def test_the_matrix_says_what_the_row_gains_from_the_column() -> None:
    assert helps(("a", "b", "c"), GAINS) == [[None, 3.0, -2.0], [1.0, None, 0.0], [0.5, 0.0, None]]


def test_the_interaction_of_three_is_what_the_pairs_do_not_explain() -> None:
    found = {row.task: row.effect for row in higher_order(("a", "b", "c"), GAINS)}
    assert found == {"a": 2.0 - (3.0 - 2.0), "b": 0.0, "c": 0.5}


def test_a_mean_effect_averages_over_the_mixtures_that_a_task_joins() -> None:
    found = {row.tasks: row for row in mean_effects(("a", "b", "c"), GAINS)}
    assert found["a", "b"].effect == pytest.approx((3.0 + 4.0) / 2)  # into a alone, and into a with c
    assert found["a", "b"].combinations == 2


def test_a_group_gains_from_its_own() -> None:
    found = group_effects({"near": ("a", "b")}, GAINS, seed=1)[0]
    assert found.effect == pytest.approx(np.mean([3.0, 1.0, 2.0, 1.0]) - np.mean([-2.0, 0.0]))
    assert found.low <= found.effect <= found.high


def rows(*texts: list[int]) -> list[Segments]:
    return [Segments(np.array(text[:-1], dtype=np.int32), np.array(text[-1:], dtype=np.int32)) for text in texts]


def test_the_same_words_overlap_fully_and_other_words_not_at_all() -> None:
    overlap = vocabulary_overlap({"a": rows([1, 2, 3]), "same": rows([3, 2, 1]), "other": rows([4, 5, 6])})
    assert overlap[0, 1] == pytest.approx(1.0) and overlap[0, 2] == 0.0
    assert (overlap == overlap.T).all()


def test_near_texts_are_near_and_far_ones_far() -> None:
    table = np.array([[0, 0], [1, 0], [1, 0.1], [-1, 0], [0, 0], [0, 0]], dtype=np.float32)
    near = embedding_similarity({"a": rows([1, 1]), "b": rows([2, 2]), "far": rows([3, 3])}, table)
    assert near[0, 1] > 0.9 and near[0, 2] < -0.9


def test_affinity_is_the_mean_over_the_others_in_a_combination() -> None:
    pairwise = np.array([[1.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 1.0]])
    found = mean_affinity(pairwise, all_members(3))
    assert np.isnan(found[0]).all()  # a task alone has no others
    assert found[0b011 - 1, 0] == 0.5 and found[0b111 - 1, 0] == pytest.approx(0.3)
