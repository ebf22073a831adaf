"""What a guided search trains first."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.study.search import Board, largest_first

TASKS = ("a", "b", "c", "d")


@given(st.integers(1, 7))
def test_a_row_and_its_combination_name_each_other(count: int) -> None:
    board = Board(tuple("abcdefg"[:count]))
    assert board.members.shape == board.empty().shape == (2**count - 1, count)
    for row, inside in enumerate(board.members):
        group = board.combination(row)
        assert group == tuple(np.array(board.tasks)[inside]) and board.row(group) == row


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4))
def test_every_combination_of_several_but_all_comes_once_and_never_behind_a_smaller_one(gains: list[float]) -> None:
    groups = list(chain.from_iterable(largest_first(TASKS, dict(zip(TASKS, gains, strict=True)))))
    assert len(set(groups)) == len(groups) == 2**4 - 1 - 4 - 1
    assert [len(group) for group in groups] == sorted((len(group) for group in groups), reverse=True)


@pytest.mark.parametrize("hurt", TASKS)
def test_of_one_size_those_come_first_that_leave_out_what_all_together_hurt(hurt: str) -> None:
    gains = {task: -0.2 if task == hurt else 0.1 for task in TASKS}
    triples, pairs = largest_first(TASKS, gains)
    assert hurt not in triples[0] and all(hurt in group for group in triples[1:])
    assert [hurt in group for group in pairs] == [False] * 3 + [True] * 3
