"""The training state on disk: written whole or not at all, and enough to go on as if nothing had happened."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multitune.core.errors import RunFolderError
from multitune.core.files import recover_folder, write_folder

STATE, TENSORS = "state.json", "state.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment of a run: the plain facts, and the tensors by `adapter/index.part`."""

    facts: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def of(self, adapter: str) -> dict[str, torch.Tensor]:
        """One adapter's tensors, under the names its optimizer gave."""
        prefix = adapter + "/"
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `folder`.

    Raises:
        StorageError: the disk is full; the checkpoint that was there before is still whole.
    """
    tensors = {key: tensor.detach().to("cpu").contiguous() for key, tensor in checkpoint.tensors.items()}
    write_folder(folder, {STATE: json.dumps(checkpoint.facts)}, {TENSORS: tensors})


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None if the run never wrote one.

    Raises:
        RunFolderError: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    recover_folder(folder)
    if not folder.exists():
        return None
    try:
        facts = json.loads((folder / STATE).read_text("utf-8"))
        return Checkpoint(facts, load_file(folder / TENSORS))
    except (OSError, ValueError, SafetensorError) as error:
        raise RunFolderError(
            f"{folder}: the checkpoint is damaged ({error}). Delete this folder to start the run again from step 0"
        ) from error
