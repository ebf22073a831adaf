"""The training loss: what each answer token weighs, and the weighted sum of a pack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from multitune.core.records import Pack, PackRow, Segments
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


@dataclass(frozen=True, slots=True)
class RowLosses:
    """What the rows of a step lose, in the order in which they were computed."""

    rows: list[int]  # their places among the rows given
    nats: np.ndarray  # float64 (row,) negative log-likelihood of each row's answer
    tokens: np.ndarray  # int64 (row,) answer tokens of each row
    executed_tokens: int  # that were computed, shared prefixes once
    logical_tokens: int  # of the same rows laid out one by one


def backward(bank: AdapterBank, rows: Sequence[PackRow], pack_tokens: int) -> RowLosses:
    """Add the gradients of rows to what their adapters hold, pack by pack; packs hold rows of several adapters."""
    places: list[int] = []
    nats, tokens = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    executed = logical = 0
    for pack in bank.backbone.pack(rows, pack_tokens):
        loss = pack_loss(bank, pack)
        loss.total.backward()
        places += pack.rows
        nats.append(loss.row_sum)
        tokens.append(loss.row_tokens)
        executed += len(pack)
        logical += pack.logical_tokens
    return RowLosses(places, np.concatenate(nats), np.concatenate(tokens), executed, logical)


def pack_loss(bank: AdapterBank, pack: Pack) -> PackLoss:
    """Loss of a pack under the adapters that its slices name."""
    with bank.route(pack.slices, len(pack)):
        losses = bank.backbone.losses(pack)  # (target,)
    weights = torch.from_numpy(pack.target_weight).to(losses.device)
    return PackLoss((losses * weights).sum(), *row_sums(pack, losses))
