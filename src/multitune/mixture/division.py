"""The rows of a step divided over processes: each a stretch of the tries, so that what rows share stays together."""

from collections.abc import Sequence

from multitune.core.records import PackRow
from multitune.mixture.packing import trie_order


def divide_rows(rows: Sequence[PackRow], parts: int, share: bool = True) -> list[list[int]]:
    """Places of the rows in each part; a function of the rows alone, and every row is in one part.

    Rows in the order of their tries are cut into at most `parts` stretches, such that the most tokens that any of
    them has to compute are the fewest possible. Where there are more parts than rows, the last ones are empty.

    Args:
        rows: any number of rows.
        parts: at least 1.
        share: whether rows that begin alike are computed as tries.
    """
    inputs, order, shared = trie_order(rows, share)
    lengths = [len(inputs[i]) for i in order]
    least, most = max(lengths, default=0), sum(lengths)
    while least < most:
        middle = (least + most) // 2
        if len(_stretches(lengths, shared, middle)) <= parts:
            most = middle
        else:
            least = middle + 1
    bounds = _stretches(lengths, shared, most)
    found = [order[first:last] for first, last in zip(bounds, [*bounds, len(order)][1:], strict=True)]
    return [*found, *([] for _ in range(parts - len(found)))]


def _stretches(lengths: Sequence[int], shared: Sequence[int], most: int) -> list[int]:
    """Where each of the fewest stretches begins of which none computes more tokens than `most`."""
    bounds: list[int] = []
    load = most + 1  # the first row opens a stretch
    for place, (length, common) in enumerate(zip(lengths, shared, strict=True)):
        load += length - common
        if load > most:
            bounds.append(place)
            load = length  # what it shares with the row before is computed again
    return bounds
