"""What is deleted lies where it should, what is copied is no link, and what a kill left behind goes."""

import os
import re
from pathlib import Path

import pytest

import multitune
from multitune.core.errors import RunFolderError
from multitune.core.files import copy_folder, delete_folder, recover_tree, write_folder, write_text

SOURCE = Path(multitune.__file__).parent
HOMES = {"core/files.py", "model/gguf.py", "data/tokenizer.py"}  # the last two: staging folders of the cache


def test_folders_are_deleted_and_copied_in_one_file_alone() -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"\b(rmtree|copytree)\b", path.read_text("utf-8"))
    }
    assert found == HOMES


def test_what_lies_elsewhere_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "run" / "door").symlink_to(tmp_path)
    for path in (tmp_path / "thesis", tmp_path / "run/../thesis", tmp_path / "run/door/thesis", tmp_path / "run"):
        with pytest.raises(RunFolderError, match="does not lie in"):
            delete_folder(path, tmp_path / "run")
    assert (tmp_path / "thesis").is_dir()


def test_of_a_link_the_link_alone_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "run" / "snapshots").symlink_to(tmp_path / "thesis")
    delete_folder(tmp_path / "run" / "snapshots", tmp_path / "run")
    assert (tmp_path / "thesis").is_dir() and not (tmp_path / "run" / "snapshots").exists()


def test_a_folder_with_a_link_in_it_is_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "adapter"
    source.mkdir()
    (tmp_path / "secret").write_text("key")
    (source / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(RunFolderError, match=r"README\.md: is a link"):
        copy_folder(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_parts_of_killed_writes_go_and_those_of_a_living_process_stay(tmp_path: Path) -> None:
    (tmp_path / "adapters").mkdir()
    dead = [tmp_path / ".part-9999999-a", tmp_path / "adapters" / ".part-old_style"]
    (dead[0]).mkdir()
    (dead[1]).write_text("half")
    living = tmp_path / f".part-{os.getpid()}-b"
    living.write_text("half")
    (tmp_path / "adapters" / ".old-shared").mkdir()  # killed between the two renames
    recover_tree(tmp_path)
    assert living.exists() and not any(path.exists() for path in dead)
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["shared"]


def test_a_replaced_folder_can_be_kept(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        write_folder(tmp_path / "c", {"a": text}, {}, keep=tmp_path / "before")
    assert ((tmp_path / "c/a").read_text(), (tmp_path / "before/a").read_text()) == ("third", "second")
    write_text(tmp_path / "x", "y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before", "c", "x"]
