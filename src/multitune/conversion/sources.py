"""Where the rows of a data set of another tool are, as `data` of a task: files and folders found again, or the hub."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitune.config.shorthand import DATA_SUFFIXES
from multitune.conversion.columns import Templates
from multitune.conversion.given import Draft

LOADERS = {"json", "csv", "parquet", "text", "arrow"}  # as a path, where `data_files` names the files


def located(text: str, read_from: Path, written_to: Path) -> str:
    """A path that exists, from the working directory or beside the config, as the run file's folder sees it.

    Anything else, such as a hub id, stays as it is.
    """
    for folder in (Path.cwd(), read_from):
        path = folder / Path(text).expanduser()
        if text and path.exists():
            return Path(os.path.relpath(path, written_to)).as_posix()
    return text


def origin(entry: Mapping[str, Any]) -> str:
    """What `datasets.load_dataset` would read by the `path` and `data_files` of an entry."""
    files = entry.get("data_files")
    if isinstance(files, dict):
        files = files.get(entry.get("split") or "train")
    first = files[0] if isinstance(files, list) and files else files
    return str(first if first and entry.get("path") in LOADERS else entry.get("path") or "")


def is_local(where: str, folder: Path) -> bool:
    """Whether a text names a file or a folder, which need not be there."""
    return (folder / where).exists() or where.startswith((".", "/", "~")) or where.endswith(DATA_SUFFIXES)


def data_of(entry: Mapping[str, Any], name: str, draft: Draft, read_from: Path, written_to: Path) -> dict[str, Any]:
    """`data` of a task.

    Args:
        entry: `path` and, where there are any, `name`, `split`, `revision`, `data_files` and `shards`.
        name: of the task, for notes.
        draft: gets a note for each part that is not taken over.
        read_from: the folder of the config.
        written_to: the folder of the run file.
    """
    where, split = located(origin(entry), read_from, written_to), str(entry.get("split") or "train")
    files = entry.get("data_files")
    if isinstance(files, list) and len(files) > 1:
        draft.notes.append(
            f"tasks.{name}: the first of its data_files is taken. Put all into one folder, and name that"
        )
    if "[" in split or entry.get("shards"):
        draft.notes.append(f"tasks.{name}: taken whole, not in part (split {split!r}). Set `limit` for fewer rows")
    if is_local(where, written_to):
        return {"train": where}
    data = {"hub": where, "train": split.partition("[")[0]}
    return data | {ours: entry[key] for key, ours in (("name", "config"), ("revision", "revision")) if entry.get(key)}


def task_of(name: str, data: Mapping[str, Any], templates: Templates, draft: Draft) -> dict[str, Any]:
    """A task over these rows; what differs from the tool that they come from is noted in `draft`."""
    if templates.note:
        draft.notes.append(f"tasks.{name}: {templates.note}")
    return {
        "name": name,
        "data": dict(data),
        "kind": "generate",
        "prompt": templates.prompt,
        "answer": templates.answer,
    }


def add_validation(task: dict[str, Any], data: Mapping[str, Any], draft: Draft) -> None:
    """Let a task validate on rows of their own."""
    if data.get("hub") == task["data"].get("hub"):
        task["data"]["validation"] = data["train"]
    else:
        draft.notes.append(f"tasks.{task['name']}: its validation rows are elsewhere ({data}). Name a file for them")
