"""How likely given answers are: sums and means of negative log-likelihoods per row."""

from collections.abc import Sequence

import numpy as np
import torch

from multitune.core.records import Pack, PackRow, Segments
from multitune.model.bank import AdapterBank


def row_sums(pack: Pack, losses: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the targets' losses (target,) in each row, float64 (row,), and its answer tokens, int64 (row,)."""
    nats, rows = losses.detach().to("cpu", torch.float64).numpy(), len(pack.rows)
    return (
        np.bincount(pack.target_row, weights=nats, minlength=rows),
        np.bincount(pack.target_row, minlength=rows),
    )


@torch.no_grad()
def row_losses(
    bank: AdapterBank, adapter: str, rows: Sequence[Segments], pack_tokens: int, *, batch_invariant: bool = True
) -> np.ndarray:
    """Mean negative log-likelihood of each row's answer tokens under one adapter, in nats, float64 (row,).

    Without `batch_invariant` in the arithmetic of training, in which a row's last digits depend on its neighbours.
    """
    number = bank.number(adapter)
    packed = [PackRow(segments, adapter=number, task=0) for segments in rows]
    result = np.empty(len(rows))
    for pack in bank.backbone.pack(packed, pack_tokens):
        with bank.route(pack.slices, len(pack)):
            losses = bank.backbone.losses(pack, batch_invariant=batch_invariant)  # (target,)
        nats, tokens = row_sums(pack, losses)
        result[list(pack.rows)] = nats / tokens
    return result
