"""The training state on disk: written whole or not at all, and enough to continue to the same bits."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multitune.core.errors import RunFolderError
from multitune.core.files import recover_folder, write_folder
from multitune.core.results.base import Document
from multitune.training.learner import LearnerState

STATE, TENSORS = "state.json", "state.safetensors"


class TrainingState(Document):
    """state.json of a checkpoint; its first version is what checkpoints held before they had one."""

    REMEDY = "delete the folder of the checkpoint; --resume then starts from step 0"
    schema_version: int = 2

    step: int
    events: int  # bytes of the event log at that moment
    base_losses: dict[str, list[float]]  # of adapters before their first step, by task and parent, then by row
    learners: dict[str, LearnerState]

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Version 2 keeps losses by row: means of older ones are measured again where they are needed."""
        return {**value, "base_losses": {}} if version == 1 else value


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment of a run: the plain state, and the tensors by `adapter/index.part`."""

    state: TrainingState
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
    write_folder(folder, {STATE: json.dumps(checkpoint.state.plain())}, {TENSORS: tensors})


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None if the run never wrote one.

    Raises:
        RunFolderError: it is damaged, or a newer multitune wrote it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    recover_folder(folder)
    if not folder.exists():
        return None
    try:
        state = json.loads((folder / STATE).read_text("utf-8"))
        return Checkpoint(TrainingState.parse(state, str(folder / STATE)), load_file(folder / TENSORS))
    except (OSError, ValueError, SafetensorError) as error:
        raise RunFolderError(
            f"{folder}: the checkpoint is damaged ({error}). Delete this folder to start the run again from step 0"
        ) from error
