"""The whole backbone as something to train: float32 masters behind weights in the compute type."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from multitune.core.files import write_folder
from multitune.model.backbone import Backbone


class FullWeights:
    """Every weight of a backbone, trainable; tied weights count once."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        model = backbone.model
        model.requires_grad_(True)
        self._weights: list[torch.nn.Parameter] = list(model.parameters())
        same = backbone.dtype == torch.float32
        self._masters = [w.data if same else w.detach().to(torch.float32, copy=True) for w in self._weights]

    def masters(self) -> Sequence[torch.Tensor]:
        """Float32 copies that the optimizer moves."""
        return self._masters

    def gradients(self) -> Sequence[torch.Tensor]:
        """Float32 gradients; zero for a weight that took no part."""
        return [torch.zeros_like(m) if w.grad is None else w.grad.float() for w, m in self._pairs()]

    def publish(self) -> None:
        """Copy the masters into the model and clear its gradients."""
        with torch.no_grad():
            for weight, master in self._pairs():
                if weight.data_ptr() != master.data_ptr():
                    weight.copy_(master)
                weight.grad = None

    def _pairs(self) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
        return list(zip(self._weights, self._masters, strict=True))


def save_full(backbone: Backbone, folder: Path, tokenizer: Any, texts: Mapping[str, str]) -> None:
    """Write the model as it is now as an ordinary model folder, atomically.

    Raises:
        StorageError: the disk is full or not writable; a folder that was there before stays as it was.
    """

    def save(part: Path) -> None:
        backbone.model.save_pretrained(part)
        tokenizer.save_pretrained(part)

    write_folder(folder, texts, {}, save=save)
