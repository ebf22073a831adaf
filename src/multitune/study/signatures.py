"""Each row's gradient under one adapter, projected to few numbers: what the estimates of all combinations rest on.

Many adapters in one pack make per-row gradients as cheap as one batched backward pass: copies of the adapter take one
row each, so that every copy's gradient is that row's own.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from multitune.core.errors import RunFolderError
from multitune.core.files import new_file
from multitune.core.records import PackRow, Segments
from multitune.core.seals import load_tensors, save_tensors
from multitune.core.seeds import generator
from multitune.model.bank import AdapterBank
from multitune.training.loss import pack_loss

BUCKETS = 4096  # dimensions of the first, random projection
COPIES = 16  # rows whose gradients are held at once


@dataclass(frozen=True, slots=True)
class Signatures:
    """Rows of one task under one adapter."""

    losses: np.ndarray  # float64 (row,) mean negative log-likelihood per answer token, in nats
    gradients: np.ndarray  # float32 (row, BUCKETS) projected gradient of the same
    seconds: float  # that they took


def row_signatures(bank: AdapterBank, name: str, rows: Sequence[Segments], pack_tokens: int, seed: int) -> Signatures:
    """Loss and projected gradient of each row.

    The projection is a count sketch (Charikar et al. 2002): every weight has a bucket and a sign, so that inner
    products of gradients survive in expectation; the seed fixes both, and must be one for all that is compared.
    """
    started = time.monotonic()
    adapter = bank[name]
    size = len(adapter.weights)
    random = generator(seed, "sketch", str(size))
    buckets = torch.from_numpy(random.integers(0, BUCKETS, size))
    signs = torch.from_numpy(random.integers(0, 2, size).astype(np.float32) * 2 - 1)
    copies = [
        bank.attach(f"{name}.copy-{i}", adapter.slots, adapter.weights.clone()) for i in range(min(COPIES, len(rows)))
    ]
    for copy in copies:
        bank.train(copy.name)
    losses = np.empty(len(rows))
    gradients = np.empty((len(rows), BUCKETS), dtype=np.float32)
    # Rows of like length side by side, so that no pack is mostly one row.
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].prompt))
    for start in range(0, len(order), len(copies) or 1):
        places = order[start : start + len(copies)]
        numbers = [bank.number(copy.name) for copy in copies]
        losses[places] = _backward(bank, numbers, [rows[i] for i in places], pack_tokens)
        for copy, place in zip(copies, places, strict=False):
            assert copy.grad is not None
            signed = copy.grad.to("cpu") * signs
            gradients[place] = torch.zeros(BUCKETS).index_add_(0, buckets, signed).numpy()
            copy.grad.zero_()
    for copy in copies:
        bank.remove(copy.name)
    return Signatures(losses, gradients, time.monotonic() - started)


def _backward(bank: AdapterBank, numbers: Sequence[int], rows: Sequence[Segments], pack_tokens: int) -> np.ndarray:
    """Put each row's gradient of its mean loss into the adapter of its place; float64 (row,) losses."""
    packed = [
        PackRow(row, adapter=number, task=0, weight=1.0 / len(row.answer))
        for number, row in zip(numbers, rows, strict=False)
    ]
    losses = np.empty(len(rows))
    for pack in bank.backbone.pack(packed, pack_tokens):
        loss = pack_loss(bank, pack)
        loss.total.backward()
        losses[list(pack.rows)] = loss.row_sum / loss.row_tokens
    return losses


def save_signatures(file: Path, signatures: Signatures) -> None:
    """Write them as one safetensors file, whole or not at all."""
    arrays = {
        "losses": signatures.losses,
        "gradients": signatures.gradients,
        "seconds": np.array([signatures.seconds]),
    }
    with new_file(file) as part:
        save_tensors({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, part)


def load_signatures(file: Path) -> Signatures:
    """Read what `save_signatures` wrote.

    Raises:
        RunFolderError: it is damaged.
    """
    try:
        held = load_tensors(file, "np")
        return Signatures(held["losses"], held["gradients"], float(held["seconds"][0]))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise RunFolderError(f"{file}: damaged ({error}). Delete it: the same command makes it again") from error
