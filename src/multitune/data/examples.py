"""The examples of one split as an Arrow table: rendered once for each template, then mapped from the cache."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, final, overload

import numpy as np

from multitune.core.errors import TaskError
from multitune.core.paths import cache_folder
from multitune.core.records import Example
from multitune.core.versions import versions
from multitune.data.cache import Batches, cached_table
from multitune.data.sources import Table
from multitune.tasks.shots import shot_chat
from multitune.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

LAYOUT = 5  # of the cached tables
COLUMNS = ("id", "prompt", "answer", "group", "ending", "source", "chat", "options", "variant")
BATCH_ROWS = 1000
BATCH_CHARACTERS = 2_000_000  # the tokenizer keeps about a hundred bytes for each token of a batch


@final
class Examples(Sequence[Example]):
    """Examples that lie on disk: each is made when it is asked for, and then forgotten."""

    def __init__(
        self, task: Task, table: "Dataset", digest: str, rows: np.ndarray | None = None, trained: bool = False
    ) -> None:
        """Wrap the rows of a table of `COLUMNS`.

        Args:
            task: whose they are.
            table: of all rows.
            digest: sha256 hex over the examples.
            rows: numbers of those that count, int64 (example,) and ascending; all when None.
            trained: whether a row is asked by the variant of the prompt that was drawn for it.
        """
        self._task, self._trained = task, trained
        self._table: Any = table  # the library says of no column what type it has
        self._rows = np.arange(len(table)) if rows is None else rows
        self._digest = digest

    @property
    def digest(self) -> str:
        """Sha256 hex over what is asked and answered, the task's shots included."""
        if not (self._trained or self._task.shots):
            return self._digest
        facts = [self._digest, self._trained, [(shot.prompt, shot.answer) for shot in self._task.shots]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def trained(self) -> "Examples":
        """The same rows as training asks them: each by the variant of the prompt that was drawn for it, if any."""
        varied = bool(self._task.config.prompt_variants)
        return Examples(self._task, self._table, self._digest, self._rows, trained=True) if varied else self

    def select(self, places: np.ndarray) -> "Examples":
        """Some of the examples, int64 (example,) and ascending."""
        digest = hashlib.sha256(self._digest.encode() + places.astype(np.int64).tobytes()).hexdigest()
        return Examples(self._task, self._table, digest, self._rows[places], self._trained)

    def texts(self, column: Literal["id", "prompt", "answer", "group", "ending", "source"]) -> Iterator[str]:
        """One text of each example."""
        return (text for (text,) in self._texts(column))

    def asked(self) -> Iterator[str]:
        """The text by which each example is known."""
        return (prompt or answer for prompt, answer in self._texts("prompt", "answer"))

    def _texts(self, *columns: str) -> Iterator[tuple[str, ...]]:
        start = 0
        for batch in self._table.data.to_batches():
            first, last = np.searchsorted(self._rows, [start, start + len(batch)])
            part = batch.select(columns).take(self._rows[first:last] - start)
            yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
            start += len(batch)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Example]:
        return map(self._example, self._texts(*COLUMNS))

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._table[int(self._rows[index])]
        return self._example([row[column] for column in COLUMNS])

    def _example(self, texts: Sequence[str]) -> Example:
        """One of `COLUMNS`."""
        id_, prompt, answer, group, ending, source, chat, listed, variant = texts
        task = self._task
        options = tuple(json.loads(listed)) if listed else ()
        prompt = variant or prompt if self._trained else prompt
        chat = chat or shot_chat(task.shots, prompt)
        return Example(
            task.name, id_, prompt, answer, task.gold(answer), group, ending, source, chat, options, variant
        )


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
    asked += [config.messages, config.turns, config.tools, config.options]
    if config.prompt_variants:
        asked += [config.prompt_variants, task.seed]
    facts = [LAYOUT, _version(), rows, *asked, task.ends]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@cache
def _version() -> str | None:
    return versions().packages["multitune"]


def _rendered(task: Task, table: Table) -> Batches:
    import pyarrow

    digest = hashlib.sha256()
    cells = attrgetter(*COLUMNS)
    try:
        for batch in batches(task.render(table, seen=lambda text: digest.update(f"{text}\n".encode()))):
            columns: dict[str, Any] = dict(zip(COLUMNS, zip(*map(cells, batch), strict=True), strict=True))
            columns["options"] = [json.dumps(options) if options else "" for options in columns["options"]]
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
