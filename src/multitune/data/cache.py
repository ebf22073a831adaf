"""Arrow tables that are made once: streamed into a file of the cache and mapped into memory from there."""

import hashlib
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitune.core.errors import RunFolderError, StorageError
from multitune.core.files import new_file, read_json, write_json
from multitune.core.untrusted import open_regular

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

_log = logging.getLogger(__name__)

Batches = Generator["pyarrow.RecordBatch", None, str]  # returns what is to be noted beside the table


@dataclass(frozen=True, slots=True)
class CachedTable:
    """A table, from the cache's file or from memory."""

    data: "Dataset"
    note: str  # what its maker returned
    digest: str  # sha256 hex over its bytes and the note
    made: bool  # just now, and not found


def cached_table(file: Path | None, schema: "pyarrow.Schema", make: Callable[[], Batches]) -> CachedTable:
    """The table of this file, which is made if there is none yet or it is damaged.

    A cache that cannot be written costs time and memory, not the run: the table is then made again, in memory.

    Args:
        file: its name says all that the table depends on; None for a table that cannot be kept.
        schema: of every batch.
        make: called once for each attempt.
    """
    if file is not None:
        if (found := _read(file)) is not None:
            _log.info("%s is read again: %d rows", file, len(found.data))
            return found
        try:
            return _written(file, schema, make())
        except StorageError as error:
            _log.warning("%s cannot be written (%s): held in memory and not cached", file, error.__cause__)
    import pyarrow
    from datasets import Dataset

    sink = pyarrow.BufferOutputStream()
    note = _stream(sink, schema, make())
    content = sink.getvalue()
    return CachedTable(Dataset.from_buffer(content), note, _digest(pyarrow.BufferReader(content), note), True)


def _stream(sink: Any, schema: "pyarrow.Schema", batches: Batches) -> str:
    """Write batch after batch to a file or a buffer; the note that their maker returns."""
    import pyarrow

    with pyarrow.ipc.new_stream(sink, schema) as writer:
        while True:
            try:
                writer.write_batch(next(batches))
            except StopIteration as end:
                return end.value


def _written(file: Path, schema: "pyarrow.Schema", batches: Batches) -> CachedTable:
    import pyarrow
    from datasets import Dataset

    with new_file(file) as part:
        with pyarrow.OSFile(str(part), "wb") as sink:
            note = _stream(sink, schema, batches)
        with part.open("rb") as content:
            digest = _digest(content, note)
    # Last: without it, or with that of another table, the file counts as damaged.
    write_json(file.with_suffix(".json"), {"note": note, "sha256": digest})
    _log.info("%s is written", file)
    return CachedTable(Dataset.from_file(str(file)), note, digest, True)


def _read(file: Path) -> CachedTable | None:
    """A table made before, or None where there is none or it is not what was written."""
    from datasets import Dataset

    try:
        record = read_json(file.with_suffix(".json"))
        note, digest = str(record["note"]), record["sha256"]
        with open_regular(file) as content:
            if _digest(content, note) != digest:
                return None
        return CachedTable(Dataset.from_file(str(file)), note, digest, False)
    except (OSError, RunFolderError, KeyError, TypeError):
        return None


def _digest(content: Any, note: str) -> str:
    digest = hashlib.file_digest(content, "sha256")
    digest.update(note.encode())
    return digest.hexdigest()
