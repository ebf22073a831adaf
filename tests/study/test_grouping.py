"""Which few combinations serve all tasks, and what tasks do to each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.study.grouping import best_grouping
from multitune.study.search import Board
from multitune.study.synergy import group_effects, helps, higher_order, mean_effects

NAN = np.nan
TASKS = ("a", "b", "c", "d")


def gains_of(members: np.ndarray, seed: int) -> np.ndarray:
    return np.where(members, np.random.default_rng(seed).normal(size=members.shape), np.nan)


@given(st.integers(0, 200))
def test_every_task_is_served_by_the_best_of_the_chosen_that_holds_it(seed: int) -> None:
    members = Board(TASKS).members
    gains = gains_of(members, seed)
    found = best_grouping(gains, worth=0.05)
    for task, row in enumerate(found.serves):
        assert members[row, task] and row in found.chosen
        assert gains[row, task] == max(gains[other, task] for other in found.chosen if members[other, task])
    assert set(found.serves) == set(found.chosen)


@given(st.integers(0, 50))
def test_a_higher_price_never_takes_more_adapters(seed: int) -> None:
    gains = gains_of(Board(TASKS).members, seed)
    counts = [len(best_grouping(gains, worth).chosen) for worth in (0.0, 0.1, 0.5, 5.0)]
    assert counts == sorted(counts, reverse=True)


def test_without_a_price_each_task_takes_its_best() -> None:
    gains = gains_of(Board(TASKS[:3]).members, 1)
    assert best_grouping(gains, 0.0).gain == pytest.approx(np.nanmax(gains, axis=0).mean())


def test_tasks_that_hurt_each_other_are_kept_apart() -> None:
    members = Board(TASKS[:3]).members
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
