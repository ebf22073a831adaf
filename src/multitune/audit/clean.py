"""Cleaned copies of the sets of a run: without the rows that checks drop, texts redacted, and no source touched."""

import glob
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from multitune.audit.checks import AuditSet, Check
from multitune.audit.run import AuditInput, Progress, unreported
from multitune.config.load import dump_config
from multitune.config.schema import RunConfig
from multitune.config.source import LimitConfig, SourceConfig
from multitune.config.task import READING
from multitune.core.errors import DataError, InputError
from multitune.core.files import PART, delete_folder, storage
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Audit, CleanedSet
from multitune.data.formats import Row
from multitune.data.sources import Table, load_rows
from multitune.tasks.task import Task

SETS, REMOVED, RUN_FILE = "sets", "removed.jsonl", "run.yaml"  # what lies in the folder
STRIDE = 1000  # rows between two reports of progress

Reasons = dict[tuple[Split, str], list[tuple[str, str]]]  # (split, row) -> (check, why), ...
Redact = Callable[[str], str]


def without_limits(config: RunConfig) -> RunConfig:
    """The run with all rows of its sets: a copy holds them all, so all of them are audited."""
    groups = {
        group: tuple(one.model_copy(update={"limit": LimitConfig()}) for one in getattr(config, group))
        for group in ("tasks", "general", "retention")
    }
    return config.model_copy(update=groups)


def require_target(folder: Path, config: RunConfig) -> None:
    """Refuse a folder for cleaned copies that holds something, or lies in a folder that rows are read from.

    Raises:
        InputError: it does.
    """
    place = f"--fix {folder}"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{place}: is no folder. Name one that is empty or not there yet")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{place}: is not empty. Name a folder that is empty or not there yet")
    for task in (*config.tasks, *config.general, *config.retention):
        for source in _folders(task.data):
            if folder.resolve().is_relative_to(source.resolve()):
                raise InputError(
                    f"{place}: lies in {source}, where the rows of {task.name!r} are. Name another folder"
                )


def _folders(data: SourceConfig) -> Iterator[Path]:
    """Folders of which a source takes all files, or those that fit a pattern."""
    for split in SPLITS:
        where: str | None = getattr(data, split)
        if where is None or data.hub or data.sql:
            continue
        path = Path(where)
        while glob.has_magic(str(path)) and not path.exists():
            path = path.parent
        if path.is_dir():
            yield path


def write_cleaned(
    config: RunConfig, given: AuditInput, audit: Audit, folder: Path, progress: Progress = unreported
) -> tuple[CleanedSet, ...]:
    """Write the cleaned copies, what was removed or redacted and why, and a run file that reads them.

    Where every finding of a check about a set was accepted, that check changes nothing of it.

    Args:
        config: as the run file says it.
        given: what was audited: all rows.
        audit: what was found in it.
        folder: empty, or not there yet.
        progress: is told of each set how many rows were written.

    Raises:
        InputError: the folder cannot be used, nothing would be left of a set, or its rows cannot be read.
        StorageError: nothing was written.
    """
    require_target(folder, config)
    skipped = {one.check for one in audit.skipped}
    checks = [check for check in given.made if check.name not in skipped]
    dropped = _dropped(given, audit, checks)
    redactors = {check.name: check.redacts(given.seen_by(check)) for check in checks if check.redacts}
    with storage(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=PART))
        try:
            found: list[CleanedSet] = []
            sources: dict[str, SourceConfig] = {}
            with (part / REMOVED).open("w", encoding="utf-8") as removed:
                for one in given.sets:
                    used = {name: make for name, make in redactors.items() if _applies(audit, name, one.name)}
                    copy = _Copy(one, dropped.get(one.name, {}), used, removed)
                    splits = copy.write(part / SETS / one.name, progress)
                    found.append(copy.result())
                    place = folder.absolute() / SETS / one.name
                    sources[one.name] = SourceConfig.model_validate({s: str(place / f"{s}.jsonl") for s in splits})
            (part / RUN_FILE).write_text(dump_config(_reading(config, given.sets, sources)), "utf-8")
            if folder.is_dir():
                folder.rmdir()
            os.rename(part, folder)
        finally:
            delete_folder(part, part.parent)
    return tuple(found)


def _applies(audit: Audit, check: str, name: str) -> bool:
    about = [one for one in audit.findings if one.check == check and name in one.sets]
    return not about or any(one.accepted is None for one in about)


def _dropped(given: AuditInput, audit: Audit, checks: list[Check]) -> dict[str, Reasons]:
    """Set -> why each of its rows is dropped."""
    found: dict[str, Reasons] = {}
    for check in checks:
        for one in check.drops(given.seen_by(check)) if check.drops else ():
            if _applies(audit, check.name, one.set):
                rows = found.setdefault(one.set, {})
                rows.setdefault((one.split, one.row), []).append((check.name, one.reason))
    return found


def _reading(config: RunConfig, sets: Iterable[AuditSet], sources: Mapping[str, SourceConfig]) -> RunConfig:
    """The run with other sources, and with what was recognised of their rows, whose files tell less."""
    read = {one.name: {name: getattr(one.task.config, name) for name in READING} for one in sets}
    groups = {
        group: tuple(
            one.model_copy(update={**read[one.name], "data": sources[one.name]}) for one in getattr(config, group)
        )
        for group in ("tasks", "general", "retention")
    }
    return config.model_copy(update=groups)


@dataclass(slots=True)
class _Copy:
    """The copy of one set under way."""

    one: AuditSet
    dropped: Reasons
    redactors: Mapping[str, Redact]
    log: IO[str]
    rows: int = 0
    removed: int = 0
    redacted: int = 0

    def result(self) -> CleanedSet:
        return CleanedSet(name=self.one.name, rows=self.rows, removed=self.removed, redacted=self.redacted)

    def write(self, folder: Path, progress: Progress) -> list[Split]:
        """Write a file for each split, and return these; of a retention set, one for the rows that it answers."""
        folder.mkdir(parents=True)
        tables: Mapping[Split, Table] = load_rows(self.one.task.config.data, f"task {self.one.name!r}")
        if self.one.role == "retention":
            for split in SPLITS:
                if len(self.one.rows(split)):
                    table = tables.get(split, tables["train"])
                    self._write_table(table, {split: folder / "train.jsonl"}, progress)
            return ["train"]
        # Splits that were carved from train stay as they are: another hash of other rows would mix them anew.
        carved: list[Split] = [split for split in SPLITS if split not in tables and len(self.one.rows(split))]
        for split, table in tables.items():
            splits: list[Split] = [split, *(carved if split == "train" else [])]
            self._write_table(table, {one: folder / f"{one}.jsonl" for one in splits}, progress)
        return [*tables, *carved]

    def _write_table(self, table: Table, files: Mapping[Split, Path], progress: Progress) -> None:
        """Write the rows of a table: those of each further split to its file, and all others to the first."""
        first, *others = files
        split_of: dict[str, Split] = {id_: split for split in others for id_ in self.one.texts(split, "id")}
        empty = set(files)
        with ExitStack() as stack:
            opened = {split: stack.enter_context(path.open("w", encoding="utf-8")) for split, path in files.items()}
            for row, ids in _with_ids(self.one.task, table):
                id_, split = ids[0], split_of.get(ids[0], first)
                faults = [fault for one in ids for fault in self.dropped.get((split, one), ())]
                if why := faults or self._spread(row):
                    self.removed += 1
                    for check, reason in why:
                        self._note(split, id_, check, removed=reason)
                else:
                    opened[split].write(_json(self._redact(row, split, id_), table) + "\n")
                    self.rows += 1
                    empty.discard(split)
                if not (self.rows + self.removed) % STRIDE:
                    progress(f"writing {self.one.name}", self.rows + self.removed, 0)
        if empty:
            raise DataError(f"{table.place}: every {min(empty)} row would be removed. Give it other rows")

    def _spread(self, row: Row) -> list[tuple[str, str]]:
        """Why a row cannot be redacted: a list of words holds one text, and may have labels of the same length."""
        lists = {column: value for column, value in row.items() if isinstance(value, list)}
        words = {column: value for column, value in lists.items() if all(isinstance(word, str) for word in value)}
        return [
            (check, f"what would be redacted is spread over the items of {column}")
            for check, redact in self.redactors.items()
            for column, value in words.items()
            if redact(" ".join(value)) != " ".join(map(redact, value))
        ]

    def _redact(self, row: Row, split: Split, id_: str) -> Row:
        changed = row
        for check, redact in self.redactors.items():
            before, changed = changed, {column: _with_texts(value, redact) for column, value in changed.items()}
            if columns := [column for column, value in changed.items() if value != before[column]]:
                self._note(split, id_, check, redacted=columns)
        self.redacted += changed != row
        return changed

    def _note(self, split: Split, row: str, check: str, **what: object) -> None:
        line = {"set": self.one.name, "split": split, "row": row, "check": check, **what}
        self.log.write(json.dumps(line, ensure_ascii=False) + "\n")


def _with_ids(task: Task, table: Table) -> Iterator[tuple[Row, list[str]]]:
    """Every row as its source has it, with the id that it has in the run, or those of the turns of a conversation."""
    last: list[Row] = []

    def noted() -> Iterator[Row]:
        for row in table:
            last[:] = [row]
            yield row

    # As it was when the rows were read, before labels were fitted.
    row, ids = Row(), list[str]()
    for example in Task(task.config, task.ends).render(noted()):
        if ids and last[0] is not row:
            yield row, ids
            ids = []
        row = last[0]
        ids.append(example.id)
    if ids:
        yield row, ids


def _with_texts(value: Any, change: Redact) -> Any:
    """A value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _with_texts(part, change) for key, part in value.items()}
    return [_with_texts(part, change) for part in value] if isinstance(value, list) else value


def _json(row: Row, table: Table) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, date | datetime | clock_time | Decimal):
            return str(value)
        raise DataError(
            f"{table.place}: a cell is {type(value).__name__}, which JSON cannot hold. Leave that column out"
        )

    return json.dumps(_without_nan(row), ensure_ascii=False, default=plain)


def _without_nan(value: Any) -> Any:
    """NaN is missing, for which JSON says null."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    return [_without_nan(part) for part in value] if isinstance(value, list) else value
