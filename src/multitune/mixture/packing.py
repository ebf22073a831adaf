"""Rows as packs: forests of token tries in depth-first order, so that a shared prefix is computed once."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from multitune.core.records import Pack, PackRow


def pack_rows(rows: Sequence[PackRow], pack_tokens: int, share: bool = True, align: int = 1) -> list[Pack]:
    """Lay rows out as packs of at most `pack_tokens` tokens; exact, nothing is cut or approximated.

    Rows are sorted by adapter and then by their tokens, which makes neighbours share the longest prefixes: the
    depth-first order of the trie of all rows. A row's last token is only ever predicted, so it is not laid out.

    Args:
        rows: any number of rows; a trie never spans two adapters.
        pack_tokens: budget of one pack. A row longer than that gets a pack of its own.
        share: False lays every row out alone (plain packing), for models that tries cannot serve.
        align: each adapter's slice is filled up to a multiple of this with tokens that nothing sees or predicts, so
            that shapes repeat. It may take a pack over its budget by less than `align` per adapter.
    """
    inputs, order, shared = trie_order(rows, share)
    left = sum(map(len, inputs)) - sum(shared)  # tokens that are not laid out yet
    packs: list[Pack] = []
    builder, enough = _PackBuilder(rows, align), left - _even_share(left, pack_tokens)
    for i, common in zip(order, shared, strict=True):
        fresh = len(inputs[i]) - common
        full = (fresh and left <= enough) or len(builder) + fresh > pack_tokens
        if len(builder) and full:
            packs.append(builder.finish())
            left += common  # the path that was open is laid out again
            builder, enough, common = _PackBuilder(rows, align), left - _even_share(left, pack_tokens), 0
        builder.add(i, inputs[i], common)
        left -= len(inputs[i]) - common
    if len(builder):
        packs.append(builder.finish())
    return packs


def trie_order(rows: Sequence[PackRow], share: bool = True) -> tuple[list[np.ndarray], list[int], list[int]]:
    """Rows in the depth-first order of their tries.

    Returns:
        The tokens of each row that are laid out, the order of the rows, and for each place of the order how many
        leading tokens that row has in common with the one before.
    """
    inputs = [row.segments.tokens[:-1] for row in rows]
    # Big-endian bytes compare like the token sequences themselves.
    order = sorted(range(len(rows)), key=lambda i: (rows[i].adapter, inputs[i].astype(">u4").tobytes(), i))
    shared = [0] * len(order)
    for place, (left, right) in enumerate(pairwise(order), start=1):
        if share and rows[left].adapter == rows[right].adapter:
            shared[place] = common_prefix(inputs[left], inputs[right])
    return inputs, order, shared


def _even_share(tokens: int, pack_tokens: int) -> float:
    """Tokens of each of the fewest packs that hold them all: full ones and a small rest would be slower."""
    return tokens / max(1, math.ceil(tokens / pack_tokens))


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """Number of leading tokens that two sequences share."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length


class _PackBuilder:
    """One pack in the making: appends the part of each row that the row before did not have."""

    def __init__(self, rows: Sequence[PackRow], align: int) -> None:
        self._rows = rows
        self._align = align
        self._tokens: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._open = np.empty(0, dtype=np.int64)  # node index at each depth of the row added last
        self._closed: list[tuple[np.ndarray, int]] = []  # (nodes, the token count at which their subtrees ended)
        self._targets: list[tuple[np.ndarray, np.ndarray, float, int]] = []
        self._slices: list[tuple[int, int, int]] = []
        self._members: list[int] = []
        self._count = 0
        self._logical = 0

    def __len__(self) -> int:
        return self._count

    def add(self, index: int, tokens: np.ndarray, shared: int) -> None:
        """Append a row of which the first `shared` tokens are already the open path."""
        row = self._rows[index]
        assert len(row.segments.prompt) and len(row.segments.answer), f"row {index} needs a prompt and an answer"
        if self._slices and self._slices[-1][0] != row.adapter:
            self._fill()
        fresh = np.arange(self._count, self._count + len(tokens) - shared, dtype=np.int64)
        self._closed.append((self._open[shared:], self._count))
        self._open = np.concatenate([self._open[:shared], fresh])
        self._tokens.append(tokens[shared:])
        self._positions.append(np.arange(shared, len(tokens), dtype=np.int64))
        first_answer = len(row.segments.prompt)
        self._targets.append((self._open[first_answer - 1 :], row.segments.answer, row.weight, len(self._members)))
        self._members.append(index)
        self._count += len(fresh)
        self._logical += len(tokens)
        self._extend_slice(row.adapter)

    def _extend_slice(self, adapter: int) -> None:
        if self._slices and self._slices[-1][0] == adapter:
            self._slices[-1] = (adapter, self._slices[-1][1], self._count)
        else:
            start = self._slices[-1][2] if self._slices else 0
            self._slices.append((adapter, start, self._count))

    def _fill(self) -> None:
        """End the last slice at a multiple of `align`: every token of the filling is a root without branches."""
        filling = -self._count % self._align
        self._closed.append((self._open, self._count))
        self._open = np.empty(0, dtype=np.int64)
        self._closed += [(np.array([i]), i + 1) for i in range(self._count, self._count + filling)]
        self._tokens.append(np.zeros(filling, dtype=np.int32))
        self._positions.append(np.zeros(filling, dtype=np.int64))
        self._count += filling
        self._extend_slice(self._slices[-1][0])

    def finish(self) -> Pack:
        """The pack of all rows added."""
        self._fill()
        end = np.full(self._count, self._count, dtype=np.int64)
        for nodes, count in self._closed:
            end[nodes] = count
        lengths = [len(nodes) for nodes, _, _, _ in self._targets]
        members = self._members
        return Pack(
            tokens=np.concatenate(self._tokens).astype(np.int64),
            position=np.concatenate(self._positions),
            end=end,
            slices=tuple(self._slices),
            target_node=np.concatenate([nodes for nodes, _, _, _ in self._targets]),
            target_token=np.concatenate([token for _, token, _, _ in self._targets]).astype(np.int64),
            target_weight=np.repeat([w for _, _, w, _ in self._targets], lengths).astype(np.float32),
            target_row=np.repeat([r for _, _, _, r in self._targets], lengths),
            rows=tuple(members),
            row_task=np.array([self._rows[i].task for i in members], dtype=np.int64),
            logical_tokens=self._logical,
        )
