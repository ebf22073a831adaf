"""One adapter's pair of matrices in one layer, and the pairs of many adapters side by side for batches of few rows."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

FILL = 8  # rows of an adapter come in multiples of this: fewer are multiplied by kernels that add in another order


@dataclass(frozen=True, slots=True)
class LowRank:
    """One adapter's pair in one layer: y += scale * (x Aᵀ) Bᵀ. Gradients are added into `grad_a` and `grad_b`."""

    a: torch.Tensor  # (rank, in) compute type
    b: torch.Tensor  # (out, rank) compute type
    scale: float
    grad_a: torch.Tensor | None = None  # (rank, in) float32; None for an adapter that is not trained
    grad_b: torch.Tensor | None = None  # (out, rank) float32


@dataclass(frozen=True, slots=True)
class RowsOf:
    """Where the rows of some adapters are read, and which of them are real."""

    read: torch.Tensor  # int64 (adapter * place,) row of the batch
    shape: tuple[int, int]  # (adapter, place)
    real: torch.Tensor  # int64 (row,) places of `read` that do not only fill up
    rows: torch.Tensor  # int64 (row,) the rows of the batch there


@dataclass(frozen=True, slots=True)
class MixedRows:
    """The rows of a batch by adapter, each adapter's filled up to one number: a product serves all adapters."""

    adapters: tuple[int, ...]  # some may have no row
    rows: np.ndarray  # int64 (adapter, place) row of the batch; what fills up repeats row 0
    counts: np.ndarray  # int64 (adapter,) real rows
    device: torch.device
    _made: dict[tuple[int, ...], RowsOf] = field(default_factory=dict[tuple[int, ...], RowsOf])

    @classmethod
    def of(cls, adapters: tuple[int, ...], owners: Sequence[int], device: torch.device) -> "MixedRows":
        """Rows by the adapter that owns each; rows of a number that is not listed stay the base's."""
        mine = [[row for row, owner in enumerate(owners) if owner == adapter] for adapter in adapters]
        counts = np.array([len(found) for found in mine])
        rows = np.zeros((len(adapters), -(-int(counts.max()) // FILL) * FILL), dtype=np.int64)
        for place, found in enumerate(mine):
            rows[place, : len(found)] = found
        return cls(adapters, rows, counts, device)

    def of_places(self, places: tuple[int, ...]) -> RowsOf:
        """The rows of the adapters at some places of `adapters`; the same for all layers alike."""
        if places not in self._made:
            rows = self.rows[list(places)]
            real = np.flatnonzero(np.arange(rows.shape[1]) < self.counts[list(places), None])
            read = torch.from_numpy(rows.reshape(-1)).to(self.device)
            found = torch.from_numpy(real).to(self.device)
            self._made[places] = RowsOf(read, (rows.shape[0], rows.shape[1]), found, read[found])
        return self._made[places]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Pairs of equal rank and scale, of different adapters."""

    places: tuple[int, ...]  # of the adapters in MixedRows.adapters
    a: torch.Tensor  # (pair, in, rank) transposed for good: for a transposed view MKL picks kernels by the rows
    b: torch.Tensor  # (pair, rank, out)
    scale: float


@dataclass(frozen=True, slots=True)
class Stacks:
    """What some adapters add in one layer, in as few products as they have kinds of pairs."""

    pairs: tuple[tuple[LowRank, ...], ...]  # of each adapter, as they were when this was made
    stacks: tuple[_Stack, ...]  # in the order of an adapter's own stack

    @classmethod
    def of(cls, pairs: tuple[tuple[LowRank, ...], ...]) -> "Stacks":
        """Copies of the pairs as they are now."""
        alike: dict[tuple[int, int, float], list[tuple[int, LowRank]]] = {}
        for place, stack in enumerate(pairs):
            for level, pair in enumerate(stack):
                alike.setdefault((level, len(pair.a), pair.scale), []).append((place, pair))
        made = [
            _Stack(
                tuple(place for place, _ in group),
                torch.stack([pair.a.T for _, pair in group]).contiguous(),
                torch.stack([pair.b.T for _, pair in group]).contiguous(),
                scale,
            )
            for (_, _, scale), group in sorted(alike.items(), key=lambda item: item[0])
        ]
        return cls(pairs, tuple(made))

    def is_of(self, pairs: tuple[tuple[LowRank, ...], ...]) -> bool:
        """Whether it was made of these very pairs."""
        return len(pairs) == len(self.pairs) and all(map(operator.is_, pairs, self.pairs))

    def add_to(self, out: torch.Tensor, x: torch.Tensor, mixed: MixedRows) -> None:
        """Add to the frozen map's output what the adapter of each row adds, with the bits of one adapter at a time.

        Args:
            out: (row, out), changed in place.
            x: input, (row, in).
            mixed: whose rows they are.
        """
        for stack in self.stacks:
            asked = np.flatnonzero(mixed.counts[list(stack.places)])
            if not len(asked):
                continue
            some = slice(int(asked[0]), int(asked[-1]) + 1)  # a view: what was copied once is not copied again
            of, a, b = mixed.of_places(stack.places[some]), stack.a[some], stack.b[some]
            hidden = torch.bmm(x.index_select(0, of.read).view(*of.shape, -1), a)  # (pair, place, rank)
            if out.dtype == torch.float32:
                parts = torch.bmm(hidden, b).mul_(stack.scale).view(-1, out.shape[1])
                out.index_add_(0, of.rows, parts.index_select(0, of.real))
            else:  # rounded once, as one adapter's addmm is
                before = out.index_select(0, of.read).view(*of.shape, -1)
                parts = before.baddbmm_(hidden, b, alpha=stack.scale).view(-1, out.shape[1])
                out.index_copy_(0, of.rows, parts.index_select(0, of.real))
