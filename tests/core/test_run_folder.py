"""A folder is deleted only where all in it is ours, and no name of a part leads out of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from multitune.core.errors import RunFolderError
from multitune.core.run_folder import RunFolder, TuneFolder

OURS = (
    "versions.json",
    "config.yaml",
    "lock",
    "adapters/shared/adapter_config.json",
    "adapters/shared/adapter_model.safetensors",
    "snapshots/shared/step-000004/multitune.json",
    "checkpoint-before/state.safetensors",
    "predictions/base/task.test.jsonl",
    "routing/v0001/table.json",
    "tracking/tensorboard/deep/events.out.tfevents.1",
    "added/new/config.yaml",
    "added/new/adapters/new/multitune.json",
    "evaluations/validation/scores.json",
    ".part-9999999-x",
)
FOREIGN = (
    "thesis.md",
    "adapters/thesis.md",
    "adapters/shared/thesis.md",
    "checkpoint/deep/state.json",
    "predictions/base/notes.csv",
    "routing/v0001/plot.png",
    "added/thesis.md",
    "added/new/thesis.md",
    "evaluations/validation/predictions/base/notes.csv",
)


def made(folder: Path, places: tuple[str, ...]) -> RunFolder:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("x")
    return RunFolder(folder)


def test_a_folder_with_nothing_but_ours_is_deleted(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", OURS)
    assert folder.foreign == []
    folder.delete()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", FOREIGN)
def test_a_file_that_is_not_ours_is_found_at_any_depth(place: str, tmp_path: Path) -> None:
    folder = made(tmp_path / "run", (*OURS, place))
    assert folder.foreign == [place]
    for delete in (folder.delete, folder.clear):
        with pytest.raises(RunFolderError, match="Move that away first"):
            delete()
    assert all((folder.path / one).exists() for one in (*OURS, place))


def test_a_folder_of_another_program_with_a_config_is_not_cleared(tmp_path: Path) -> None:
    for kind in (RunFolder, TuneFolder):
        made(tmp_path / "site", ("config.yaml",))
        with pytest.raises(RunFolderError, match="not a folder that multitune made"):
            kind(tmp_path / "site").clear()
    assert (tmp_path / "site" / "config.yaml").is_file()


def test_the_lock_outlives_a_folder_that_is_started_over(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", OURS)
    folder.clear()
    assert [path.name for path in folder.path.iterdir()] == ["lock"] and folder.is_empty


NAMED: dict[str, Callable[[RunFolder, str], object]] = {
    "adapter": RunFolder.adapter,
    "added": RunFolder.added,
    "evaluation": RunFolder.evaluation,
    "comparison": RunFolder.comparison,
    "snapshot": lambda folder, name: folder.snapshot(name, 0),
    "predictions": lambda folder, name: folder.predictions(name, "task", "test"),
    "rows": lambda folder, name: folder.predictions("base", name, "test"),
}


@pytest.mark.parametrize("name", ["../../x", "..", "/etc", "a/b", "a\\b", "", "\0"])
@pytest.mark.parametrize("part", ["adapter", "added", "evaluation", "snapshot", "predictions"])
def test_a_name_that_leads_elsewhere_is_refused(part: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no name of a part of a run"):
        NAMED[part](RunFolder(tmp_path), name)


@pytest.mark.parametrize("part", NAMED)
def test_a_name_may_hold_no_separator_wherever_it_stands(part: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no name of a part of a run"):
        NAMED[part](RunFolder(tmp_path), "../x")
