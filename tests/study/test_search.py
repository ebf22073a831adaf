"""What a guided search trains first."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multitune.study.estimate import all_members
from multitune.study.search import Board, promising, unhurt

TASKS = ("a", "b", "c", "d")


def board(losses: dict[str, float] | None = None, otherwise: float = 1.0) -> Board:
    """Every task's loss in a combination such as "ab" is as given, and otherwise alike."""
    members = all_members(len(TASKS))
    estimated = np.where(members, otherwise, np.nan)
    for row, inside in enumerate(members):
        name = "".join(task for task, there in zip(TASKS, inside, strict=True) if there)
        estimated[row, inside] = (losses or {}).get(name, otherwise)
    return Board(TASKS, members, estimated)


def tokens(found: Board) -> np.ndarray:
    return found.members.sum(axis=1).astype(float)


def names(found: Board) -> list[str]:
    return ["".join(group) for group in promising(found, tokens(found))]


def test_a_small_combination_comes_before_a_large_one_that_serves_its_tasks_as_well() -> None:
    assert names(board({"ab": 0.5, "abc": 0.5}))[:2] == ["ab", "abc"]


def test_what_gains_more_for_the_same_tokens_comes_first() -> None:
    assert names(board({"ab": 0.9, "cd": 0.5, "bd": 0.8}))[0] == "cd"


def test_a_combination_that_only_repeats_what_another_reaches_waits_behind_one_that_serves_other_tasks() -> None:
    assert names(board({"ab": 0.5, "ac": 0.5, "cd": 0.6}))[:3] == ["ab", "cd", "ac"]


def test_what_all_together_reaches_already_is_not_looked_for_again() -> None:
    assert names(board({"ab": 0.5, "abcd": 0.4, "cd": 0.39}))[0] == "cd"


def test_the_tasks_that_all_together_hurt_leave_the_others_to_be_tried_without_them() -> None:
    assert unhurt(TASKS, np.array([0.1, -0.2, 0.3, 0.0])) == [("a", "c", "d")]
    for hurt_nobody_or_too_many in ([0.1, 0.2, 0.3, 0.0], [-0.1, -0.2, 0.3, -0.1], [-0.1, -0.2, -0.3, -0.1]):
        assert unhurt(TASKS, np.array(hurt_nobody_or_too_many)) == []


@given(st.integers(0, 200))
def test_every_candidate_is_of_several_tasks_and_is_named_once(seed: int) -> None:
    found = board()
    found.estimated[:] = np.where(
        found.members, np.random.default_rng(seed).uniform(0.1, 2.0, found.members.shape), np.nan
    )
    groups = promising(found, tokens(found))
    assert len(set(groups)) == len(groups) >= len(TASKS)
    assert all(len(group) > 1 for group in groups)


def test_with_nothing_to_gain_there_are_candidates_all_the_same() -> None:
    assert names(board({"abcd": 0.2}))
