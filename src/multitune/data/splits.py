"""Which row belongs to train, validation and test: by hash of its text, so that duplicates never straddle a split."""

import hashlib
from collections.abc import Mapping, Sequence

from multitune.core.records import SPLITS, Split


def text_key(text: str) -> str:
    """A text without its case and spacing: what makes two rows duplicates."""
    return " ".join(text.casefold().split())


def carve(
    keys: Sequence[str], groups: Sequence[str], shares: Mapping[Split, float], seed: int
) -> dict[Split, list[int]]:
    """Share rows out to train and the splits of `shares`; each row's place depends on its own text and group alone.

    Rows with the same key or the same group form a unit, directly or through each other, and a unit stays whole. Its
    hash is its place between 0 and 1: test lies at the low end, validation next to it. Another order or
    new rows thus move no unit, unless they join two, or a split would stay empty and takes the next lowest unit.

    Args:
        keys: `text_key` of each row.
        groups: each row's document, or "" where it has none.
        shares: validation and test, each with its share of the units; together below 1.
        seed: another one gives another division.

    Returns:
        Row numbers in ascending order: train, and each split with a share above 0. With fewer units than splits,
        all rows are train.
    """
    roots = _units(keys, groups)
    place: dict[int, float] = {}  # a unit's root -> the lowest hash of its names
    for row, root in enumerate(roots):
        place[root] = min(place.get(root, 1.0), _hash(seed, f"group {groups[row]}" if groups[row] else keys[row]))
    order = sorted(place, key=lambda root: place[root])
    held_out: list[Split] = [split for split in ("test", "validation") if shares.get(split, 0.0) > 0.0]
    split_of: dict[int, Split] = dict.fromkeys(order, "train")
    if len(order) > len(held_out):
        edge, first = 0.0, 0
        for i, split in enumerate(held_out):
            edge += shares[split]
            last = sum(place[root] < edge for root in order)
            # At least one unit for this split, and for each that follows it.
            last = min(max(last, first + 1), len(order) - (len(held_out) - i))
            split_of |= dict.fromkeys(order[first:last], split)
            first = last
    division: dict[Split, list[int]] = {split: [] for split in SPLITS if split == "train" or split in held_out}
    for row, root in enumerate(roots):
        division[split_of[root]].append(row)
    return division


def drop_straddlers(keys: Mapping[Split, Sequence[str]]) -> dict[Split, list[int]]:
    """Row numbers to keep of splits that came apart: what is held out stays, its duplicates before it go.

    Train loses the rows whose key stands in validation or test, validation those whose key stands in test.
    """
    kept: dict[Split, list[int]] = {}
    later: set[str] = set()
    for split in reversed(SPLITS):
        if split in keys:
            kept[split] = [row for row, key in enumerate(keys[split]) if key not in later]
            later.update(keys[split])
    return kept


def _units(keys: Sequence[str], groups: Sequence[str]) -> list[int]:
    """For each row the first row of its unit: union-find over shared keys and shared groups."""
    parent = list(range(len(keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for names in (keys, groups):
        first: dict[str, int] = {}
        for row, name in enumerate(names):
            if name or names is keys:
                a, b = root(row), root(first.setdefault(name, row))
                parent[max(a, b)] = min(a, b)
    return [root(row) for row in range(len(keys))]


def _hash(seed: int, name: str) -> float:
    """A number from 0 up to 1 that the seed and the name fix."""
    digest = hashlib.sha256(f"{seed}\x1f{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
