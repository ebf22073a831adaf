import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multitune.core.records import Split
from multitune.core.text import text_key
from multitune.data.splits import carve, drop_cross_split_duplicates, text_hash

SHARES: dict[Split, float] = {"validation": 0.1, "test": 0.2}
names = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from(["", "", "x", "y", "z"])), min_size=1)


def carved(
    keys: list[str], groups: list[str] | None = None, shares: dict[Split, float] = SHARES, seed: int = 17
) -> dict[Split, list[int]]:
    """`carve` with texts and documents by name, and lists of rows."""
    hashes = np.array([text_hash(key, seed) for key in keys], dtype=np.uint64)
    documents = np.array([text_hash(group, seed) if group else 0 for group in groups or [""] * len(keys)], np.uint64)
    return {split: rows.tolist() for split, rows in carve(hashes, documents, shares).items()}


def kept(keys: dict[Split, list[str]]) -> dict[Split, list[int]]:
    hashes = {split: np.array([text_hash(k, 17) for k in some], dtype=np.uint64) for split, some in keys.items()}
    return {split: rows.tolist() for split, rows in drop_cross_split_duplicates(hashes).items()}


def membership(keys: list[str], groups: list[str] | None = None, seed: int = 17) -> dict[str, Split]:
    parts = carved(keys, groups, SHARES, seed)
    return {keys[row]: split for split, rows in parts.items() for row in rows}


@given(names, st.integers(0, 5))
def test_every_row_lands_in_one_split(rows: list[tuple[str, str]], seed: int) -> None:
    parts = carved([key for key, _ in rows], [group for _, group in rows], SHARES, seed)
    assert sorted(row for part in parts.values() for row in part) == list(range(len(rows)))


@given(names, st.integers(0, 5))
def test_neither_a_text_nor_a_document_stands_in_two_splits(rows: list[tuple[str, str]], seed: int) -> None:
    parts = carved([key for key, _ in rows], [group for _, group in rows], SHARES, seed)
    split_of = {row: split for split, part in parts.items() for row in part}
    for i, (key, group) in enumerate(rows):
        assert {split_of[j] for j, other in enumerate(rows) if other[0] == key or (group and other[1] == group)} == {
            split_of[i]
        }


@given(names, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_rows_moves_none(rows: list[tuple[str, str]], seed: int, shuffler: random.Random) -> None:
    other = list(rows)
    shuffler.shuffle(other)
    before, after = (membership([k for k, _ in some], [f"{g}" for _, g in some], seed) for some in (rows, other))
    assert before == after


def test_new_rows_move_no_old_one() -> None:
    old = [f"row {i}" for i in range(500)]
    before, after = membership(old), membership([f"new {i}" for i in range(700)] + old)
    assert before == {key: after[key] for key in old}


def test_another_test_share_moves_no_row_from_test_to_train() -> None:
    keys = [f"row {i}" for i in range(500)]
    small, large = (set(carved(keys, None, {"test": share})["test"]) for share in (0.1, 0.3))
    assert small < large


def test_shares_are_close_to_what_was_asked() -> None:
    parts = carved([f"row {i}" for i in range(5000)], None)
    assert abs(len(parts["validation"]) - 500) < 75
    assert abs(len(parts["test"]) - 1000) < 100


def test_another_seed_divides_otherwise() -> None:
    keys = [f"row {i}" for i in range(100)]
    assert membership(keys, seed=1) != membership(keys, seed=2)


@given(st.sets(st.text(min_size=1), min_size=3, max_size=9), st.integers(0, 20))
def test_three_different_rows_are_enough_for_three_splits(keys: set[str], seed: int) -> None:
    parts = carved(sorted(keys), [""] * len(keys), SHARES, seed)
    assert all(parts[split] for split in ("train", "validation", "test"))


def test_two_different_rows_stay_in_train() -> None:
    assert carved(["a", "b", "a"], ["", "", ""], SHARES, 17) == {"train": [0, 1, 2], "validation": [], "test": []}


def test_a_share_of_zero_makes_no_split() -> None:
    assert carved(["a", "b"], ["", ""], {"validation": 0.0}, 17) == {"train": [0, 1]}


def test_case_and_spacing_make_no_difference_between_texts() -> None:
    assert text_key("Buy  THE\tDip\n") == text_key(" buy the dip") == "buy the dip"


def test_what_is_held_out_stays_and_its_duplicates_go() -> None:
    keys: dict[Split, list[str]] = {"train": ["a", "b", "c", "d", "a"], "validation": ["b", "c"], "test": ["c", "a"]}
    assert kept(keys) == {"train": [3], "validation": [0], "test": [0, 1]}


def test_a_row_dropped_from_validation_does_not_return_to_train() -> None:
    assert kept({"train": ["a"], "validation": ["a", "b"], "test": ["a"]})["train"] == []


def test_duplicates_within_a_split_stay() -> None:
    assert kept({"train": ["a", "a"]}) == {"train": [0, 1]}
