"""Rows divided over processes: every row once, evenly, and the same on every process."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitune.core.records import PackRow, Segments
from multitune.mixture.division import divide_rows
from multitune.mixture.packing import pack_rows

ROWS = st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 2), min_size=2, max_size=8)), max_size=12)


def row(adapter: int, tokens: list[int]) -> PackRow:
    ids = np.array(tokens, dtype=np.int32)
    return PackRow(Segments(ids[:1], ids[1:]), adapter=adapter, task=0)


def computed(rows: list[PackRow], part: list[int]) -> int:
    return sum(len(pack) for pack in pack_rows([rows[i] for i in part], 10_000))


@given(ROWS, st.integers(1, 5))
def test_every_row_is_in_one_part(drawn: list[tuple[int, list[int]]], parts: int) -> None:
    rows = [row(*one) for one in drawn]
    found = divide_rows(rows, parts)
    assert len(found) == parts and sorted(i for part in found for i in part) == list(range(len(rows)))


@settings(max_examples=30)
@given(ROWS, st.integers(1, 4))
def test_no_other_stretches_have_a_lighter_heaviest_part(drawn: list[tuple[int, list[int]]], parts: int) -> None:
    rows = [row(*one) for one in drawn]
    found = divide_rows(rows, parts)
    order = [i for part in found for i in part]
    heaviest = max(computed(rows, part) for part in found)
    lightest = [[0] * (parts + 1) for _ in range(len(rows) + 1)]  # [rows of the order][parts]: of the best cut
    for count in range(1, len(rows) + 1):
        lightest[count] = [10**6] * (parts + 1)
        for used in range(1, parts + 1):
            tails = [(first, computed(rows, order[first:count])) for first in range(count)]
            lightest[count][used] = min(max(lightest[first][used - 1], tail) for first, tail in tails)
    assert heaviest == lightest[len(rows)][parts]


def test_rows_that_begin_alike_stay_together() -> None:
    rows = [row(0, [*([task] * 50), i, 9]) for i in range(4) for task in (1, 2)]
    assert divide_rows(rows, 2) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_more_parts_than_rows_leave_some_empty() -> None:
    assert divide_rows([row(0, [1, 2, 3])], 3) == [[0], [], []]
    assert divide_rows([], 2) == [[], []]


@pytest.mark.parametrize("share", [True, False])
def test_the_division_does_not_hang_on_a_single_long_row(share: bool) -> None:
    rows = [row(0, [1] * 900), *(row(0, [2, i, 3]) for i in range(5))]
    assert sorted(map(len, divide_rows(rows, 2, share))) == [1, 5]
