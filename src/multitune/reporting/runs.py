"""Runs, studies and searches as they lie in folders: the state of each, what is missing of it, and removal."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from multitune.config.load import plain_config
from multitune.core.errors import ConfigError, RunFolderError
from multitune.core.results.run import DataRecord, FolderKind, RunSummary, State, Versions
from multitune.core.results.scores import GAINED, LOST, Scores, TransferSummary, Verdict
from multitune.core.results.study import Findings, TrialsReport
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import Folder, RunFolder, StudyFolder, TuneFolder
from multitune.core.text import printable
from multitune.reporting.run_scores import read_run_scores
from multitune.reporting.run_state import state_of


def list_runs(parent: Path) -> list[RunSummary]:
    """The runs in a folder, the one that changed last first; a run folder itself is a list of one.

    Raises:
        RunFolderError: no such folder.
    """
    if not parent.is_dir():
        raise RunFolderError(f"{parent}: no such folder. Give the folder that holds the runs, as `output` names it")
    if kind_of(parent):
        return [summarise(parent)]
    inside = [path for path in sorted(parent.iterdir()) if not path.name.startswith(".") and path.is_dir()]
    runs = [summarise(path) for path in inside if kind_of(path)]
    return sorted(runs, key=lambda run: run.changed, reverse=True)


def kind_of(path: Path) -> FolderKind | None:
    """What a folder holds; None where it is nothing of ours."""
    study, search, run = StudyFolder(path), TuneFolder(path), RunFolder(path)
    if study.findings.is_file() or study.config.is_file():
        return "study"
    if search.journal.is_file() or search.report.is_file():
        return "search"
    parts = run.versions, run.data, run.events, run.scores
    return "run" if run.config.is_file() or sum(part.is_file() for part in parts) > 1 else None


def summarise(path: Path) -> RunSummary:
    """What is known of a folder, however little of it there is."""
    match kind_of(path):
        case "study":
            return _study(StudyFolder(path))
        case "search":
            return _search(TuneFolder(path))
        case _:
            return _run(RunFolder(path))


def _run(folder: RunFolder) -> RunSummary:
    missing: list[str] = []
    config = _config(folder.config, folder.path, missing)
    if not missing and not isinstance(config.get("tasks"), list):
        missing.append(f"{folder.config.name} is no run file")
    state: State = "damaged" if missing else state_of(folder)
    verdicts = None
    if folder.scores.is_file() or state == "finished":
        try:
            verdicts = best_verdicts(read_run_scores(folder))
        except RunFolderError as error:
            missing.append(_within(folder.path, error))
            state = "damaged" if state == "finished" else state
    missing += _gaps(folder, config, state)
    parts = [folder.config, folder.events, folder.scores, folder.selection, *folder.routing_versions[-1:]]
    found = _summary(folder, "run", state, missing, config, parts)
    return found.model_copy(update={"tasks": (*found.tasks, *folder.joined), "verdicts": verdicts})


def _study(folder: StudyFolder) -> RunSummary:
    missing: list[str] = []
    config = _config(folder.config, folder.path, missing)
    state: State = "running" if folder.is_held else "stopped"
    if folder.findings.is_file():
        try:
            Findings.read(folder.findings)
            state = state if state == "running" else "finished"
        except RunFolderError as error:
            missing.append(_within(folder.path, error))
            state = "damaged"
    if state == "stopped":
        missing.append("not finished: the same `multitune study FILE` goes on")
    run = {**_mapping(config.get("run")), "name": _mapping(config.get("study")).get("name")}
    return _summary(folder, "study", state, missing, run, [folder.config, folder.findings, folder.data])


def _search(folder: TuneFolder) -> RunSummary:
    missing: list[str] = []
    config = _config(folder.config, folder.path, missing)
    state: State = "running" if folder.is_held else "stopped"
    if folder.report.is_file() and state != "running":
        try:
            report = TrialsReport.read(folder.report)
            unfinished = any(trial.state == "unfinished" for trial in report.trials)
            state = "stopped" if unfinished or report.best is None else "finished"
        except RunFolderError as error:
            missing.append(_within(folder.path, error))
            state = "damaged"
    if state == "stopped":
        missing.append("not finished: the same `multitune tune FILE` goes on")
    return _summary(folder, "search", state, missing, config, [folder.config, folder.journal, folder.report])


def _summary(
    folder: Folder,
    kind: FolderKind,
    state: State,
    missing: Sequence[str],
    config: Mapping[str, Any],
    parts: list[Path],
) -> RunSummary:
    """A line about a folder; the last write to one of `parts` is when it changed."""
    return RunSummary(
        path=str(folder.path),
        name=printable(config.get("name") or folder.path.name),
        kind=kind,
        state=state,
        changed=_changed(parts),
        tasks=tuple(_tasks(config)),
        base=_named(config.get("base")),
        verdicts=None,
        bytes=folder_size(folder.path),
        missing=tuple(missing),
    )


def best_verdicts(scores: Scores) -> dict[Verdict, int] | None:
    """How many tasks have each verdict, under the adapter with the most gain; None: no table."""
    if not scores.transfer:
        return None

    def gain(summary: TransferSummary) -> tuple[int, float]:
        return summary.count(GAINED) - summary.count(LOST), summary.mean_points

    best = max((table.summary for table in scores.transfer.values()), key=gain)
    return {verdict: len(tasks) for verdict, tasks in best.verdicts.items()}


def remove_run(path: Path) -> None:
    """Delete the folder of a run, a study or a search, for good.

    Raises:
        RunFolderError: it is none of these, holds something else besides, or a process is at work in it; nothing was
            deleted.
    """
    require_removable(path).delete()


def require_removable(path: Path) -> RunFolder | StudyFolder | TuneFolder:
    """The folder, unless `remove_run` would refuse it.

    Raises:
        RunFolderError: see there.
    """
    folder = {"study": StudyFolder, "search": TuneFolder}.get(kind_of(path) or "", RunFolder)(path)
    if isinstance(folder, RunFolder):
        folder.require()
    folder.require_own()
    if folder.is_held:
        raise RunFolderError(f"{path}: a process is at work in it. Wait for it, or stop it first")
    return folder


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


def _config(file: Path, folder: Path, missing: list[str]) -> dict[str, Any]:
    """A config as plain values: one of a newer multitune has fields that this one would refuse."""
    try:
        return plain_config(file)
    except ConfigError as error:
        missing.append(_within(folder, error))
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tasks(config: Mapping[str, Any]) -> list[str]:
    tasks = config.get("tasks")
    entries: list[Any] = tasks if isinstance(tasks, list) else []
    return [printable(task.get("name", task.get("use"))) for task in entries if isinstance(task, dict)]


def _gaps(folder: RunFolder, config: Mapping[str, Any], state: State) -> list[str]:
    """What a run of this state should have and has not, with the remedy."""
    gaps: list[str] = []
    for part, kind in ((folder.versions, Versions), (folder.data, DataRecord)):
        try:
            kind.read(part)
        except RunFolderError:
            gaps.append(f"{part.name} {'damaged' if part.exists() else 'missing'}")
    if state == "stopped":
        trained = folder.selection.is_file()
        rest = "trained, not evaluated" if trained else "not trained to the end"
        gaps.append(f"{rest}: go on with multitune train FILE --resume")
    if state == "finished" and config.get("method") == "lora" and len(config["tasks"]) > 1:
        try:
            if read_version(folder) is None:
                gaps.append(f"no routing table: multitune select {folder.path}")
        except RunFolderError as error:
            gaps.append(_within(folder.path, error))
    return gaps


def _within(folder: Path, error: Exception) -> str:
    """The first line of a message, without the path that the list shows anyway."""
    return printable(str(error).split("\n")[0]).replace(f"{folder}{os.sep}", "")


def _named(base: Any) -> str:
    """A base by its name; of a folder or file, the last part."""
    text = printable(base or "")
    return Path(text).name if text.startswith(("/", "~")) else text


def _changed(parts: list[Path]) -> datetime:
    times: list[float] = []
    for part in parts:
        try:
            times.append(part.stat().st_mtime)
        except OSError:
            continue
    return datetime.fromtimestamp(max(times, default=0.0))
