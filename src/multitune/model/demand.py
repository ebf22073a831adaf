"""What a run asks a model to compute: the rows of a step as packs, counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multitune.core.records import Pack, PackRow
from multitune.mixture.packing import pack_rows
from multitune.model.attention import laid_out_keys
from multitune.model.backbone import ALIGN, NODES
from multitune.model.quantized import Quantization


@dataclass(frozen=True, slots=True)
class PackSize:
    """What a pack takes; of several packs, the most of each."""

    tokens: int
    nodes: int  # tokens of which logits are computed
    keys: int  # summed over queries: keys that attention lays out for each

    @classmethod
    def of(cls, packs: Sequence[Pack]) -> "PackSize":
        """The most of each over some packs."""
        return cls(
            tokens=max(map(len, packs)),
            nodes=max(-(-len(np.unique(pack.target_node)) // NODES) * NODES for pack in packs),
            keys=max(map(laid_out_keys, packs)),
        )

    @classmethod
    def largest(cls, sizes: Sequence["PackSize"]) -> "PackSize":
        """The most of each."""
        return cls(max(s.tokens for s in sizes), max(s.nodes for s in sizes), max(s.keys for s in sizes))


@dataclass(frozen=True, slots=True)
class RowCost:
    """What it takes to run some rows once."""

    executed: int  # tokens, shared prefixes counted once
    packs: int
    size: PackSize


def row_cost(rows: Sequence[PackRow], pack_tokens: int) -> RowCost:
    """Lay rows out as training does, and count."""
    packs = pack_rows(rows, pack_tokens, align=ALIGN)
    return RowCost(sum(map(len, packs)), len(packs), PackSize.of(packs))


@dataclass(frozen=True, slots=True)
class Demand:
    """What training holds in memory beside the base's own shape."""

    ranks: tuple[int, ...]  # of the adapters that are trained; empty: the whole model is
    pack: PackSize  # the largest
    quantization: Quantization | None = None  # of the base's linear layers


@dataclass(frozen=True, slots=True)
class Work:
    """What a run computes in all: tokens that are executed, and how often it goes through the layers."""

    trained_tokens: float  # forward and backward
    trained_packs: float
    scored_tokens: float  # forward alone: validation, evaluation and the choice of what ships
    scored_passes: float
