"""One task's data, ready to tokenise: loaded, rendered, split without leaks, limited, its labels checked."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final, overload

import numpy as np

from multitune.config.schema import TaskConfig
from multitune.core.errors import DataError, TaskError
from multitune.core.records import SPLITS, Example, Split
from multitune.core.seeds import generator
from multitune.data.formats import Row
from multitune.data.sources import Table, load_rows
from multitune.data.splits import carve, drop_straddlers, text_hash, text_key
from multitune.data.stored import StoredRows
from multitune.tasks.task import Task

Examples = Mapping[Split, Sequence[Example]]


@final
class Rendered(Sequence[Example]):
    """Examples of rows that are not held in memory: each is rendered when it is asked for, and then forgotten."""

    def __init__(self, task: Task, rows: StoredRows, source: Table, index: np.ndarray | None = None) -> None:
        self._task = task
        self._rows = rows
        self._source = source
        self._index = np.arange(len(rows)) if index is None else index  # int64 (example,) number of the row

    @property
    def digest(self) -> str:
        """sha256 hex over what the examples follow from: the rows, which of them, and the task."""
        facts = f"{self._source.digest} {self._task.config.model_dump_json()}".encode()
        return hashlib.sha256(facts + self._index.tobytes()).hexdigest()

    def pick(self, rows: np.ndarray) -> "Rendered":
        """Some of the examples, int64 (example,)."""
        return Rendered(self._task, self._rows, self._source, self._index[rows])

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Example]:
        numbers = self._index.tolist()
        for number, row in zip(numbers, self._rows.at(numbers), strict=True):
            yield self._example(row, number)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Rendered": ...
    def __getitem__(self, index: int | slice) -> "Example | Rendered":
        if isinstance(index, slice):
            return Rendered(self._task, self._rows, self._source, self._index[index])
        number = int(self._index[index])
        return self._example(self._rows[number], number)

    def _example(self, row: Row, number: int) -> Example:
        try:
            return self._task.example(row, number)
        except TaskError as error:
            raise TaskError(f"{error} (in {self._source.origin})") from error


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task and the examples of its splits; empty are those with a share of 0, and all but one of retention."""

    task: Task
    examples: dict[Split, Sequence[Example]]
    digests: dict[Split, str]  # sha256 of the source that a split's rows come from; a carved split has train's
    notes: list[str]  # what was carved, dropped or left out, one sentence each


def prepare_task(config: TaskConfig, seed: int) -> TaskData:
    """Everything between a task's configuration and its examples.

    Validation and test stay as they are named; train loses the rows whose prompt stands in them too. A split without
    a name is then carved from train by hash of the prompt, documents kept whole, and limits draw with the seed.

    Args:
        config: its paths are absolute.
        seed: the run's.

    Raises:
        DataError: rows cannot be read, or a split ends up empty.
        TaskError: rows do not fit the templates or the labels.
    """
    place = f"task {config.name!r}"
    task = Task(config)
    tables = load_rows(config.data, place)
    named: Examples = {split: _render(task, table) for split, table in tables.items()}
    marks: dict[Split, _Marks] = {
        split: _Marks.of(examples, seed, config.kind == "classify") for split, examples in named.items()
    }
    # From all of train: a label whose only row is then held out is still a label.
    task.fit_labels(marks["train"].labels)
    for split in SPLITS[1:]:
        task.check_labels(named.get(split, []))
    notes: list[str] = []
    kept = _without_straddlers(marks, place, notes)
    apart: Examples = {split: _picked(named[split], rows) for split, rows in kept.items()}
    divided = _divided(apart, marks["train"].of_rows(kept["train"]), config, notes)
    limited: dict[Split, Sequence[Example]] = {
        split: _limited(divided.get(split, []), split, config, seed) for split in SPLITS
    }
    drawn = [f"{len(limited[s])} of {len(divided[s])} {s}" for s in divided if len(limited[s]) < len(divided[s])]
    if drawn:
        notes.append(f"as limit says, rows drawn: {', '.join(drawn)}")
    digests: dict[Split, str] = {split: tables.get(split, tables["train"]).digest for split in SPLITS}
    return TaskData(task, limited, digests, notes)


def prepare_retention(config: TaskConfig, split: Split, seed: int) -> TaskData:
    """A set that is never trained on: its rows of one split, or of `train` where its source names no such split.

    Args:
        config: its paths are absolute.
        split: the one that is evaluated on, under which the rows then stand.
        seed: the run's, with which its limit of that split draws.

    Raises:
        DataError: rows cannot be read.
        TaskError: rows do not fit the templates or the labels.
    """
    task = Task(config)
    tables = load_rows(config.data, f"task {config.name!r}")
    table = tables.get(split, tables["train"])
    rows = _render(task, table)
    task.fit_labels(example.gold for example in rows)
    limited = _limited(rows, split, config, seed)
    notes = [f"as limit says, rows drawn: {len(limited)} of {len(rows)}"] if len(limited) < len(rows) else []
    return TaskData(task, {s: limited if s == split else [] for s in SPLITS}, {split: table.digest}, notes)


def _render(task: Task, table: Table) -> Sequence[Example]:
    try:
        if isinstance(table.rows, StoredRows):
            task.check_columns(table.rows)
            return Rendered(task, table.rows, table)
        return task.examples(table.rows)
    except TaskError as error:
        raise TaskError(f"{error} (in {table.origin})") from error


@dataclass(frozen=True, slots=True)
class _Marks:
    """What divides the rows of a split, taken in one pass over its examples."""

    keys: np.ndarray  # uint64 (row,) hash of the prompt
    groups: np.ndarray  # uint64 (row,) hash of the document, 0 for none
    labels: Collection[str]  # of a classify task

    @classmethod
    def of(cls, examples: Sequence[Example], seed: int, labelled: bool) -> "_Marks":
        keys = np.empty(len(examples), dtype=np.uint64)
        groups = np.zeros(len(examples), dtype=np.uint64)
        labels: set[str] = set()
        for row, example in enumerate(examples):
            keys[row] = text_hash(text_key(example.prompt), seed)
            if example.group:
                groups[row] = text_hash(f"group {example.group}", seed)
            if labelled:
                labels.add(example.gold)
        return cls(keys, groups, labels)

    def of_rows(self, rows: np.ndarray) -> "_Marks":
        return _Marks(self.keys[rows], self.groups[rows], self.labels)


def _picked(examples: Sequence[Example], rows: np.ndarray) -> Sequence[Example]:
    if isinstance(examples, Rendered):
        return examples.pick(rows)
    return [examples[row] for row in rows.tolist()]


def _without_straddlers(marks: Mapping[Split, _Marks], place: str, notes: list[str]) -> dict[Split, np.ndarray]:
    kept = drop_straddlers({split: mark.keys for split, mark in marks.items()})
    for split, rows in kept.items():
        of = len(marks[split].keys)
        if dropped := of - len(rows):
            later = "test" if split == "validation" else "validation or test"
            if not len(rows):
                raise DataError(
                    f"{place}: every {split} row's prompt stands in {later} as well. "
                    f"Give {split} other rows, or put what tells them apart into the prompt"
                )
            notes.append(f"{split}: {dropped} of {of} rows left out, as their prompt stands in {later} as well")
    return kept


def _divided(apart: Examples, marks: _Marks, config: TaskConfig, notes: list[str]) -> Examples:
    """With the splits that have no name carved out of train, whose marks are given."""
    asked: dict[Split, float] = {"validation": config.split.validation, "test": config.split.test}
    shares: dict[Split, float] = {split: share for split, share in asked.items() if split not in apart and share > 0.0}
    if not shares:
        return apart
    place = f"task {config.name!r}"
    if sum(shares.values()) >= 1.0:
        raise DataError(f"{place}: split holds out {sum(shares.values()):g} of the rows. Leave some to train on")
    train = apart["train"]
    parts = carve(marks.keys, marks.groups, shares)
    if empty := [split for split in shares if not len(parts[split])]:
        raise DataError(
            f"{place}: its {len(train)} train rows have too few different prompts (or documents) to carve "
            f"{' and '.join(empty)} from. Give more rows, name data.{empty[0]}, or set split.{empty[0]} to 0"
        )
    counts = " and ".join(f"{len(parts[split])} for {split}" for split in shares)
    notes.append(f"train: {counts} carved from {len(train)} rows by hash of the prompt")
    return {**apart, **{split: _picked(train, rows) for split, rows in parts.items()}}


def _limited(examples: Sequence[Example], split: Split, config: TaskConfig, seed: int) -> Sequence[Example]:
    """As many as the limit allows, in their order; a higher limit holds all rows of a lower one."""
    limit: int | None = getattr(config.limit, split)
    if limit is None or len(examples) <= limit:
        return examples
    rows = generator(seed, config.name, split, "limit").permutation(len(examples))[:limit]
    return _picked(examples, np.sort(rows))
