"""The fingerprint of a base: whether two are the same, told by little of each weight."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

FIRST_VALUES = 64  # of every weight that it holds


def fingerprint(model: Any) -> str:
    """`digest_of` a loaded model."""
    weights: dict[str, nn.Parameter] = dict(model.named_parameters())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    firsts = {name: weight.detach().flatten()[:FIRST_VALUES] for name, weight in weights.items()}
    return digest_of(type(model).__name__, shapes, firsts)


def digest_of(kind: str, shapes: Mapping[str, tuple[int, ...]], firsts: Mapping[str, torch.Tensor]) -> str:
    """16 hex digits over the architecture and the shape and first values of every weight."""
    digest = hashlib.sha256(kind.encode())
    for name in sorted(shapes):
        values = firsts[name].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(f"{name}{shapes[name]}".encode() + values.numpy().tobytes())
    return digest.hexdigest()[:16]
