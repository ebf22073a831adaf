"""Which row belongs to train, validation and test: by hash of its text, so that duplicates stay in one split."""

import hashlib
from collections.abc import Mapping

import numpy as np

from multitune.core.records import SPLITS, Split


def text_hash(text: str, seed: int) -> int:
    """64 bits that the seed and the text fix; the place of a text between 0 and 1, as a whole number."""
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{text}".encode()).digest()[:8], "big")


def carve(keys: np.ndarray, groups: np.ndarray, shares: Mapping[Split, float]) -> dict[Split, np.ndarray]:
    """Share rows out to train and the splits of `shares`; each row's place depends on its own text and group alone.

    Rows with the same key or the same group form a unit, directly or through each other, and a unit stays whole. Its
    hash is its place between 0 and 1: test lies at the low end, validation next to it. Another order or
    new rows thus move no unit, unless they join two, or a split would stay empty and takes the next lowest unit.

    Args:
        keys: uint64 (row,) `text_hash` of each row's `text_key`.
        groups: uint64 (row,) hash of each row's document, or 0 where it has none.
        shares: validation and test, each with its share of the units; together below 1.

    Returns:
        Row numbers in ascending order, int64: train, and each split with a share above 0. With fewer units than
        splits, all rows are train.
    """
    unit, units = _units(keys, groups)
    lowest = np.full(units, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(lowest, unit, np.where(groups > 0, groups, keys))
    order = np.argsort(lowest, kind="stable")
    place = lowest[order] / 2.0**64
    held_out: list[Split] = [split for split in ("test", "validation") if shares.get(split, 0.0) > 0.0]
    split_of = np.zeros(units, dtype=np.int8)  # 0 for train, else 1 + the place in `held_out`
    if units > len(held_out):
        edge, first = 0.0, 0
        for i, split in enumerate(held_out):
            edge += shares[split]
            last = int(np.searchsorted(place, edge))
            # At least one unit for this split, and for each that follows it.
            last = min(max(last, first + 1), units - (len(held_out) - i))
            split_of[order[first:last]] = 1 + i
            first = last
    of_row = split_of[unit]
    numbers: dict[Split, int] = {"train": 0, **{split: 1 + i for i, split in enumerate(held_out)}}
    return {split: np.flatnonzero(of_row == numbers[split]) for split in SPLITS if split in numbers}


def drop_cross_split_duplicates(keys: Mapping[Split, np.ndarray]) -> dict[Split, np.ndarray]:
    """Row numbers to keep of splits that came apart: what is held out stays, its duplicates before it go.

    Train loses the rows whose key stands in validation or test, validation those whose key stands in test.
    """
    kept: dict[Split, np.ndarray] = {}
    later = np.empty(0, dtype=np.uint64)
    for split in reversed(SPLITS):
        if split in keys:
            kept[split] = np.flatnonzero(~np.isin(keys[split], later))
            if split != "train":
                later = np.concatenate([later, keys[split]])
    return kept


def _units(keys: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """The unit of each row, int64 (row,), and how many there are."""
    different, key = np.unique(keys, return_inverse=True)
    grouped = groups > 0
    if not grouped.any():
        return key, len(different)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # A graph of texts and documents; each row with a document is an edge between the two.
    documents, document = np.unique(groups[grouped], return_inverse=True)
    size = len(different) + len(documents)
    edges = (key[grouped], len(different) + document)
    graph = coo_matrix((np.ones(len(document), dtype=np.int8), edges), shape=(size, size))
    units, of_node = connected_components(graph, directed=False)
    return of_node[key].astype(np.int64), int(units)
