"""The training state on disk: written whole or not at all, and enough to continue to the same bits."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from multitune.core.errors import RunFolderError
from multitune.core.events import log_digest
from multitune.core.files import delete_folder, files_digest, folder_digest, recover_folder, write_folder
from multitune.core.limits import limit_met
from multitune.core.results.base import Document
from multitune.core.run_folder import RunFolder
from multitune.core.seals import load_tensors
from multitune.core.untrusted import load_json
from multitune.training.learner import LearnerState

STATE, TENSORS, SEAL = "state.json", "state.safetensors", "sha256.json"
SEALED = 3  # the first version of the state with digests beside it


class TrainingState(Document):
    """state.json of a checkpoint; its first version is what checkpoints held before they had one."""

    REMEDY = "multitune train … --overwrite"
    schema_version: int = SEALED

    step: int
    events: int  # bytes of the event log at that moment
    base_losses: dict[str, list[float]]  # of adapters before their first step, by task and parent, then by row
    learners: dict[str, LearnerState]
    log: str = ""  # SHA-256 over those bytes; empty in older checkpoints
    # Place in the run folder -> SHA-256, of the snapshots that may yet be chosen.
    snapshots: dict[str, str] = Field(default_factory=dict[str, str])

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


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: Path | None = None) -> None:
    """Replace the checkpoint in `folder`; the one that was there before goes to `keep`.

    Raises:
        StorageError: the disk is full; the checkpoint that was there before is still whole.
    """
    tensors = {key: tensor.detach().to("cpu").contiguous() for key, tensor in checkpoint.tensors.items()}
    write_folder(folder, {STATE: json.dumps(checkpoint.state.plain())}, {TENSORS: tensors}, save=_seal, keep=keep)


def _seal(folder: Path) -> None:
    digests = {name: files_digest([folder / name]) for name in (STATE, TENSORS)}
    (folder / SEAL).write_text(json.dumps(digests), "utf-8")


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None if the run never wrote one.

    Raises:
        RunFolderError: it is damaged, or a newer multitune wrote it.
    """
    recover_folder(folder)
    if not folder.exists():
        return None
    try:
        state = load_json(folder / STATE)
        found = TrainingState.parse(state, str(folder / STATE))
        if (folder / SEAL).exists() or state.get("schema_version", 0) >= SEALED:
            for name, digest in load_json(folder / SEAL).items():
                if files_digest([folder / name]) != digest:
                    raise RunFolderError(f"{folder / name}: is not what was written (its SHA-256 differs)")
        return Checkpoint(found, load_tensors(folder / TENSORS))
    except RunFolderError:
        raise
    except (OSError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{folder}: the checkpoint is damaged ({error})") from error


def restorable(folder: RunFolder) -> tuple[Checkpoint | None, list[str]]:
    """The last checkpoint of a run that is whole, with the snapshots that it names and the log up to it.

    Returns:
        The checkpoint, None where the run wrote none; and what the user should know: why an earlier one is taken.

    Raises:
        RunFolderError: there are checkpoints, but none is whole.
    """
    faults: list[str] = []
    whole: list[Checkpoint] = []
    for place in (folder.checkpoint, folder.checkpoint_before):
        try:
            found = load_checkpoint(place)
            if found is None:
                continue
            _require_snapshots(found, folder)
            if not found.state.log or log_digest(folder.events, found.state.events) == found.state.log:
                if place != folder.checkpoint:  # so that the next one keeps this one, and not what is damaged
                    delete_folder(folder.checkpoint, folder.path)
                    place.rename(folder.checkpoint)
                return found, [f"{fault}; the run goes on from step {found.state.step}" for fault in faults]
            faults.append(f"{folder.events}: lines of it are lost or changed")
            whole.append(found)
        except RunFolderError as error:
            if limit_met(error):  # nothing is known of the checkpoint
                raise
            faults.append(str(error))
    if whole:  # the log is a record, and nothing is computed from it
        return whole[0], [f"{faults[0]}; the run goes on without them from step {whole[0].state.step}"]
    if faults:
        raise RunFolderError(
            f"{faults[0]}; no other checkpoint is whole. Put the folder back from a copy, or start again from step 0 "
            "with --overwrite"
        )
    return None, []


def _require_snapshots(checkpoint: Checkpoint, folder: RunFolder) -> None:
    """See that every snapshot that may yet be chosen is as it was written."""
    for place, digest in checkpoint.state.snapshots.items():
        require_unchanged(folder.path / place, digest)


def require_unchanged(snapshot: Path, digest: str | None) -> None:
    """Compare a snapshot with its digest when it was written; where that is not known, it must hold something.

    Raises:
        RunFolderError: it is damaged or gone.
    """
    try:
        if folder_digest(snapshot) == digest or digest is None:
            return
        fault = "its SHA-256 differs"
    except OSError as error:
        fault = str(error)
    raise RunFolderError(
        f"{snapshot}: the snapshot is not what was written ({fault}). Go back to before it with --resume"
    )
