"""The one home of the loss: what each answer token weighs, and sums per row, task and adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from multitune.core.records import Pack, PackRow, Segments
from multitune.model.bank import AdapterBank


@dataclass(frozen=True, slots=True)
class PackLoss:
    """The loss of one pack: `total` to go backward from, and the plain sums per row to report."""

    total: torch.Tensor  # float32 () sum over targets of weight * negative log-likelihood
    row_sum: np.ndarray  # float64 (row,) negative log-likelihood of each row's answer, in nats
    row_tokens: np.ndarray  # int64 (row,) answer tokens of each row


def answer_weights(segments: Sequence[Segments], unit: Literal["example", "token"]) -> list[float]:
    """Weight of each row's answer tokens, such that the weighted sum over all rows of a step is the mean loss.

    `example`: every row counts the same, 1 / (rows * its tokens). `token`: every token does, 1 / all tokens.
    Dividing here, before anything is cut into packs, makes the gradient independent of the cut.
    """
    if unit == "token":
        total = sum(len(s.answer) for s in segments)
        return [1.0 / total] * len(segments)
    return [1.0 / (len(segments) * len(s.answer)) for s in segments]


def pack_loss(bank: AdapterBank, pack: Pack) -> PackLoss:
    """Loss of a pack under the adapters that its slices name."""
    with bank.route(pack.slices, len(pack)):
        losses = bank.backbone.losses(pack)  # (target,)
    weights = torch.from_numpy(pack.target_weight).to(losses.device)
    return PackLoss((losses * weights).sum(), *row_sums(pack, losses))


def row_sums(pack: Pack, losses: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the targets' losses (target,) in each row, float64 (row,), and its answer tokens, int64 (row,)."""
    nats, rows = losses.detach().to("cpu", torch.float64).numpy(), len(pack.rows)
    return (
        np.bincount(pack.target_row, weights=nats, minlength=rows),
        np.bincount(pack.target_row, minlength=rows),
    )


@torch.no_grad()
def row_losses(bank: AdapterBank, adapter: str, rows: Sequence[Segments], pack_tokens: int) -> np.ndarray:
    """Mean negative log-likelihood of each row's answer tokens under one adapter, in nats, float64 (row,)."""
    number = bank.number(adapter)
    packed = [PackRow(segments, adapter=number, task=0) for segments in rows]
    result = np.empty(len(rows))
    for pack in bank.backbone.pack(packed, pack_tokens):
        loss = pack_loss(bank, pack)
        result[list(pack.rows)] = loss.row_sum / loss.row_tokens
    return result
