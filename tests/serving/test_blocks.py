"""Blocks are held, kept and given back: never two owners of what is not shared, and none is lost."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from multitune.model.slot_cache import SCRATCH
from multitune.serving.blocks import BLOCK, BlockPool, places, prefix_keys


def test_keys_differ_by_adapter_and_by_all_tokens_before() -> None:
    prompt = np.arange(40, dtype=np.int32)
    other = prompt.copy()
    other[3] = 99
    keys = prefix_keys("first", prompt)
    assert len(keys) == 2 and len(prefix_keys("first", prompt[:32])) == 1
    assert keys[0] == prefix_keys("first", prompt[:17])[0]
    assert not set(keys) & {*prefix_keys("second", prompt), *prefix_keys("first", other)}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 90)), max_size=40))
def test_whatever_comes_and_goes_no_block_is_lost_or_has_two_owners(moves: list[tuple[bool, int, int]]) -> None:
    pool = BlockPool(SCRATCH + 12 * BLOCK)
    held: list[tuple[list[int], int]] = []  # blocks, and how many of them were there before
    for comes, which, length in moves:
        if not comes and held:
            pool.give_back(held.pop(which % len(held))[0])
            continue
        prompt = np.full(length, which, dtype=np.int32)
        keys = prefix_keys("first", prompt)
        cached = pool.cached(keys)
        blocks = pool.take(cached, length + 5)
        if blocks is None:
            continue
        assert len(places(blocks, length + 5)) == length + 5 and min(blocks) * BLOCK >= SCRATCH
        fresh = set(blocks[len(cached) :])
        assert not any(fresh & set(others) for others, _ in held)
        for key, block in zip(keys, blocks, strict=False):
            pool.keep(key, block)
        held.append((blocks, len(cached)))
    for blocks, _ in held:
        pool.give_back(blocks)
    assert pool.used == 0
    whole = pool.take([], pool.capacity)
    assert whole is not None and len(set(whole)) == 12 and pool.take([], 1) is None
