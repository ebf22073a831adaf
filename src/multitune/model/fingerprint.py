"""The fingerprint of a base: whether two are the same, told by little of each weight."""

import hashlib
from collections.abc import Mapping

import torch

FIRST_VALUES = 64  # of every weight that it holds


def first_values(weight: torch.Tensor) -> torch.Tensor:
    """What the fingerprint reads of a weight, in the type in which it reads it; a copy, so that the weight can go."""
    return weight.detach().flatten()[:FIRST_VALUES].to("cpu", torch.bfloat16, copy=True)


def digest_of(kind: str, shapes: Mapping[str, tuple[int, ...]], firsts: Mapping[str, torch.Tensor]) -> str:
    """16 hex digits over the architecture and the shape and first values of every weight."""
    digest = hashlib.sha256(kind.encode())
    for name in sorted(shapes):
        values = firsts[name].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(f"{name}{shapes[name]}".encode() + values.numpy().tobytes())
    return digest.hexdigest()[:16]
