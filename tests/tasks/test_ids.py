"""Ids are used once, however many there are, and what they are known by takes few bytes."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from multitune.tasks.identity import Ids


@given(st.lists(st.sampled_from(["a", "b", "a-2", "a-3", "", "c"]), max_size=30))
def test_an_id_that_comes_again_is_numbered(given_: list[str]) -> None:
    ids, used = Ids(), set[str]()
    for id_ in given_:
        found = ids.once(id_)
        assert found not in used and found.startswith(id_)
        assert found == id_ or id_ in used
        used.add(found)


def test_thousands_of_ids_are_told_apart_in_few_bytes() -> None:
    tracemalloc.start()
    ids = Ids()
    found = [ids.once(str(number)) == str(number) for number in range(20_000)]
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(found) and [ids.once("7"), ids.once("19999")] == ["7-2", "19999-2"]
    assert kept < 50 * 20_000  # as integers in a set of Python they take 80 each
