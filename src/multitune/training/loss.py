"""The training loss: what each answer token weighs, and the weighted sum of a pack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from multitune.core.records import Pack, Segments
from multitune.inference.likelihood import row_sums
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
