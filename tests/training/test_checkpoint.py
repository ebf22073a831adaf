"""A checkpoint is whole or absent, whatever happens while it is written."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from multitune.core.errors import RunFolderError, StorageError
from multitune.core.run_folder import RunFolder
from multitune.training.checkpoint import Checkpoint, TrainingState, load_checkpoint, restorable, save_checkpoint


def checkpoint(value: float) -> Checkpoint:
    state = TrainingState(step=int(value), events=0, base_losses={}, learners={})
    return Checkpoint(state, {"shared/0.weights": torch.full((4,), value)})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", checkpoint(1.0))
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded is not None and loaded.state.step == 1
    assert torch.equal(loaded.of("shared")["0.weights"], torch.ones(4))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "c", checkpoint(1.0))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="disk is full"):
            save_checkpoint(tmp_path / "c", checkpoint(2.0))
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded is not None and loaded.state.step == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", checkpoint(1.0))
    (tmp_path / "c").rename(tmp_path / ".old-c")  # where a replacement stands after its first rename
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded is not None and loaded.state.step == 1


def test_a_damaged_checkpoint_is_named_with_its_remedy(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", checkpoint(1.0))
    path = tmp_path / "c" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunFolderError, match="is not what was written"):
        load_checkpoint(tmp_path / "c")


def test_where_files_run_out_no_checkpoint_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    for value in (1.0, 2.0):
        save_checkpoint(folder.checkpoint, checkpoint(value), keep=folder.checkpoint_before)

    def no_more(path: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("multitune.training.checkpoint.load_json", no_more)
        with pytest.raises(RunFolderError, match="Too many open files"):
            restorable(folder)
    found, faults = restorable(folder)
    assert found is not None and (found.state.step, faults) == (2, [])


def test_a_checkpoint_of_before_they_had_a_version_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", checkpoint(1.0))
    track = {"start": {"a": 2.0}, "best": {"mean": {"step": 3, "value": 0.5}}, "stale": {"a": 1}}
    events = [{"step": 2, "losses": {"a": 1.5}}, {"step": 2, "freeze": "a"}]
    learner = {"done": False, "trained_steps": 3, "stream": {"events": events}, "track": track}
    state = {"step": 3, "events": 70, "base_losses": {"a": 2.0}, "learners": {"shared": learner}}
    (tmp_path / "c" / "state.json").write_text(json.dumps(state))
    (tmp_path / "c" / "sha256.json").unlink()
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded is not None
    assert loaded.state.learners["shared"].stream.events[1].freeze == "a"
    assert loaded.state.learners["shared"].track.best["mean"].step == 3


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", checkpoint(1.0))
    (tmp_path / "c" / "state.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(RunFolderError, match="written by a newer multitune"):
        load_checkpoint(tmp_path / "c")


def test_a_run_without_a_checkpoint_has_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "c") is None
