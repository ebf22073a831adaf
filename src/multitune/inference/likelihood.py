"""How likely given answers are: sums and means of negative log-likelihoods per row."""

from collections.abc import Sequence

import numpy as np
import torch

from multitune.core.records import Pack, PackRow, Segments
from multitune.inference.language_model import Likelihoods
from multitune.model.bank import AdapterBank


def row_sums(pack: Pack, losses: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the targets' losses (target,) in each row, float64 (row,), and its answer tokens, int64 (row,)."""
    nats, rows = losses.detach().to("cpu", torch.float64).numpy(), len(pack.rows)
    return (
        np.bincount(pack.target_row, weights=nats, minlength=rows),
        np.bincount(pack.target_row, minlength=rows),
    )


@torch.no_grad()
def row_likelihoods(
    bank: AdapterBank, adapter: str, rows: Sequence[Segments], pack_tokens: int, *, batch_invariant: bool = True
) -> Likelihoods:
    """How likely the answers of rows are under one adapter.

    Without `batch_invariant` in the arithmetic of training, in which a row's last digits depend on its neighbours.
    """
    number = bank.number(adapter)
    packed = [PackRow(segments, adapter=number, task=0) for segments in rows]
    nats, tokens = np.empty(len(rows)), np.empty(len(rows), dtype=np.int64)
    for pack in bank.backbone.pack(packed, pack_tokens):
        with bank.route(pack.slices, len(pack)):
            losses = bank.backbone.losses(pack, batch_invariant=batch_invariant)  # (target,)
        total, counts = row_sums(pack, losses)
        nats[list(pack.rows)], tokens[list(pack.rows)] = -total, counts
    return Likelihoods(nats, tokens)


def row_losses(
    bank: AdapterBank, adapter: str, rows: Sequence[Segments], pack_tokens: int, *, batch_invariant: bool = True
) -> np.ndarray:
    """Mean negative log-likelihood of each row's answer tokens, in nats, float64 (row,); see `row_likelihoods`."""
    return row_likelihoods(bank, adapter, rows, pack_tokens, batch_invariant=batch_invariant).loss
