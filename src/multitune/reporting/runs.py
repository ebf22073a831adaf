"""Runs as they lie in folders: what state each is in, what it is about, what is missing of it; and their removal."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from multitune.config.text import read_text, read_yaml
from multitune.core.errors import ConfigError, RunFolderError
from multitune.core.files import read_json
from multitune.core.run_folder import RunFolder
from multitune.reporting.forms import plain, read_scores, read_table

State = Literal["finished", "stopped", "running", "damaged"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line about a run; what could not be read is empty, and `missing` says why."""

    path: Path
    name: str
    state: State
    changed: datetime  # when it last wrote something
    tasks: tuple[str, ...]
    base: str
    verdicts: Mapping[str, int] | None  # of its best table: helped, hurt, cannot tell -> tasks
    size: int  # bytes
    missing: tuple[str, ...]


def state_of(folder: RunFolder) -> State:
    """What a run is doing, told by its files alone.

    `running`: a process holds its diary. `finished`: nobody does, and the scores are there. `stopped`: nobody does,
    and they are not, so that it can be resumed. `damaged`: no run file, so that it cannot.
    """
    if not folder.config.is_file():
        return "damaged"
    if folder.is_held:
        return "running"
    return "finished" if folder.scores.is_file() else "stopped"


def list_runs(parent: Path) -> list[RunSummary]:
    """The runs in a folder, the one that changed last first; a run folder itself is a list of one.

    Raises:
        RunFolderError: no such folder.
    """
    if not parent.is_dir():
        raise RunFolderError(f"{parent}: no such folder. Give the folder that holds the runs, as `output` names it")
    if _looks_like_a_run(parent):
        return [summarise(RunFolder(parent))]
    inside = [path for path in sorted(parent.iterdir()) if not path.name.startswith(".") and path.is_dir()]
    runs = [summarise(RunFolder(path)) for path in inside if _looks_like_a_run(path)]
    return sorted(runs, key=lambda run: run.changed, reverse=True)


def summarise(folder: RunFolder) -> RunSummary:
    """What can be told of a run, however little of it there is."""
    missing: list[str] = []
    config = _config(folder, missing)
    state: State = "damaged" if missing else state_of(folder)
    verdicts = None
    if folder.scores.is_file() or state == "finished":
        try:
            verdicts = best_verdicts(read_scores(folder))
        except RunFolderError as error:
            missing.append(_within(folder, error))
            state = "damaged" if state == "finished" else state
    missing += _gaps(folder, config, state)
    tasks = config.get("tasks")
    names = [task.get("name", task.get("use")) for task in tasks if isinstance(task, dict)] if tasks else []
    return RunSummary(
        path=folder.path,
        name=plain(config.get("name") or folder.path.name),
        state=state,
        changed=_changed(folder),
        tasks=tuple(plain(name) for name in names),
        base=_named(config.get("base")),
        verdicts=verdicts,
        size=folder_size(folder.path),
        missing=tuple(missing),
    )


def best_verdicts(scores: Mapping[str, Any]) -> dict[str, int] | None:
    """How many tasks were helped, hurt and cannot be told, under the adapter with the most gain; None: no table."""

    def gain(part: Mapping[str, Any]) -> tuple[int, float]:
        verdicts = part["summary"]["verdicts"]
        return len(verdicts.get("helped", ())) - len(verdicts.get("hurt", ())), part["summary"]["mean_points"]

    if not scores["transfer"]:
        return None
    best = max(scores["transfer"].values(), key=gain)
    return {verdict: len(tasks) for verdict, tasks in best["summary"]["verdicts"].items()}


def remove_run(folder: RunFolder) -> None:
    """Delete a run folder, for good.

    Raises:
        RunFolderError: it is no run folder, holds something else besides, or a process is training it; nothing was
            deleted.
    """
    require_removable(folder)
    folder.clear()


def require_removable(folder: RunFolder) -> None:
    """Refuse what `remove_run` would refuse, with its errors."""
    path = folder.path
    if path.is_symlink():
        raise RunFolderError(f"{path}: a link. Remove the folder that it leads to: {path.resolve()}")
    folder.require()
    if not (folder.versions.is_file() or folder.data.is_file()):
        raise RunFolderError(
            f"{path}: not a run folder (a {folder.config.name}, but no {folder.versions.name}). Give the folder that "
            "`multitune train` made"
        )
    if folder.strangers:
        raise RunFolderError(
            f"{path}: also holds what is no part of a run ({', '.join(map(plain, folder.strangers[:5]))}). Move that "
            "away first"
        )
    if folder.is_held:
        raise RunFolderError(f"{path}: a process is training this run. Wait for it, or stop it first")


def folder_size(path: Path) -> int:
    """Bytes of all files in a folder; those that vanish meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def _looks_like_a_run(path: Path) -> bool:
    folder = RunFolder(path)
    parts = folder.versions, folder.data, folder.events, folder.scores
    return folder.config.is_file() or sum(part.is_file() for part in parts) > 1


def _config(folder: RunFolder, missing: list[str]) -> dict[str, Any]:
    """The run file as plain values: one of a newer multitune has fields that this one would refuse."""
    try:
        config = read_yaml(read_text(folder.config), str(folder.config))
    except ConfigError as error:
        missing.append(_within(folder, error))
        return {}
    if not isinstance(config, dict) or not isinstance(config.get("tasks"), list):
        missing.append(f"{folder.config.name} is no run file")
        return {}
    return config


def _gaps(folder: RunFolder, config: Mapping[str, Any], state: State) -> list[str]:
    """What a run of this state should have and has not, with the remedy."""
    gaps: list[str] = []
    for part in (folder.versions, folder.data):
        try:
            read_json(part)
        except RunFolderError:
            gaps.append(f"{part.name} {'damaged' if part.exists() else 'missing'}")
    if state == "stopped":
        trained = folder.selection.is_file()
        rest = "trained, not evaluated" if trained else "not trained to the end"
        gaps.append(f"{rest}: go on with multitune train FILE --resume")
    if state == "finished" and config.get("method") == "lora" and len(config["tasks"]) > 1:
        try:
            if read_table(folder) is None:
                gaps.append(f"no routing table: multitune select {folder.path}")
        except RunFolderError as error:
            gaps.append(_within(folder, error))
    return gaps


def _within(folder: RunFolder, error: Exception) -> str:
    """The first line of a message, without the path that the list shows anyway."""
    return plain(str(error).split("\n")[0]).replace(f"{folder.path}{os.sep}", "")


def _named(base: Any) -> str:
    """A base by its name; of a folder or file, the last part."""
    text = plain(base or "")
    return Path(text).name if text.startswith(("/", "~")) else text


def _changed(folder: RunFolder) -> datetime:
    parts = folder.config, folder.events, folder.scores, folder.selection, *folder.routing_versions[-1:]
    times: list[float] = []
    for part in parts:
        try:
            times.append(part.stat().st_mtime)
        except OSError:
            continue
    return datetime.fromtimestamp(max(times, default=0.0))
