"""The examples of one split as an Arrow table: rendered once for each template, then mapped from the cache."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, final, overload

import numpy as np

from multitune.core.errors import TaskError
from multitune.core.paths import cache_folder
from multitune.core.records import Example
from multitune.core.versions import versions
from multitune.data.cache import Batches, cached_table
from multitune.data.formats import Row
from multitune.data.sources import Table
from multitune.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

LAYOUT = 1  # of the cached tables
COLUMNS = ("id", "prompt", "answer", "group")
BATCH_ROWS = 1000
BATCH_CHARACTERS = 2_000_000  # the tokenizer keeps about a hundred bytes for each token of a batch


@final
class Examples(Sequence[Example]):
    """Examples that lie on disk: each is made when it is asked for, and then forgotten."""

    def __init__(self, task: Task, table: "Dataset", digest: str) -> None:
        """Wrap a table whose columns are those of `COLUMNS`, all text."""
        self._task = task
        self._table: Any = table  # the library says of no column what type it has
        self.digest = digest  # sha256 hex over the examples

    def select(self, rows: np.ndarray) -> "Examples":
        """Some of the examples, int64 (example,)."""
        digest = hashlib.sha256(self.digest.encode() + rows.astype(np.int64).tobytes()).hexdigest()
        return Examples(self._task, self._table.select(rows), digest)

    def texts(self, column: Literal["id", "prompt", "answer", "group"]) -> Iterator[str]:
        """One text of each example."""
        for batch in self._table.select_columns(column).iter(BATCH_ROWS):
            yield from batch[column]

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Example]:
        for batch in self._table.iter(BATCH_ROWS):
            yield from map(self._example, *(batch[column] for column in COLUMNS))

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Examples": ...
    def __getitem__(self, index: int | slice) -> "Example | Examples":
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        row = self._table[range(len(self))[index]]
        return self._example(*(row[column] for column in COLUMNS))

    def _example(self, id_: str, prompt: str, answer: str, group: str) -> Example:
        return Example(self._task.name, id_, prompt, answer, self._task.gold(answer), group)


def render(task: Task, table: Table) -> tuple[Examples, str]:
    """The examples of a table's rows, and the sha256 hex over the rows: the same for a file and its gzip.

    Raises:
        DataError: a row cannot be read, or there is none.
        TaskError: rows do not fit the templates or the labels.
    """
    import pyarrow

    schema = pyarrow.schema([(column, pyarrow.string()) for column in COLUMNS])
    file = cache_folder() / "examples" / f"{_key(task, table.key)}.arrow" if table.key else None
    found = cached_table(file, schema, lambda: _rendered(task, table))
    return Examples(task, found.data, found.digest), found.note


def _key(task: Task, rows: str) -> str:
    config = task.config
    asked = [config.kind, config.prompt, config.answer, config.id, config.group, config.labels]
    facts = [LAYOUT, _version(), rows, *asked]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@cache
def _version() -> str | None:
    return versions().packages["multitune"]


def _rendered(task: Task, table: Table) -> Batches:
    import pyarrow

    digest = hashlib.sha256()

    def rows() -> Iterator[Row]:
        for row in table:
            digest.update(json.dumps(row, default=str, sort_keys=True).encode() + b"\n")
            yield row

    try:
        for batch in batches(task.render(rows())):
            columns = {column: [getattr(example, column) for example in batch] for column in COLUMNS}
            yield pyarrow.RecordBatch.from_pydict(columns)
    except TaskError as error:
        raise TaskError(f"{error} (in {table.origin})") from error
    return digest.hexdigest()


def batches(examples: Iterable[Example]) -> Iterator[Sequence[Example]]:
    """Runs of examples, each short enough to tokenise at once."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += len(example.prompt) + len(example.answer)
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
