"""One data file as rows: JSON lines, JSON, CSV, TSV or Parquet, each also gzipped; a fault names file and line."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from multitune.core.errors import DataError
from multitune.data.json_rows import json_rows
from multitune.data.table_rows import table_rows

Row = dict[str, Any]
PARQUET_ROWS = 1000  # read at a time


def is_data_file(path: Path) -> bool:
    """Whether the name ends like a format that `read_rows` knows."""
    return _suffix(path) in READERS


def read_rows(path: Path, place: str) -> Iterator[Row]:
    """The rows of one file, each read when it is asked for; only a JSON list is held in memory.

    Args:
        path: an existing file; its suffix tells the format, a `.gz` behind it is taken off first.
        place: whose data it is, for messages.

    Raises:
        DataError: unknown suffix, damaged content, another encoding than UTF-8, or no rows.
    """
    where = f"{place}: {path}"
    if not is_data_file(path):
        known = ", ".join(READERS)
        raise DataError(f"{where} has no known suffix. Known: {known}, and each with .gz behind it. Rename the file")
    empty = True
    try:
        for row in READERS[_suffix(path)](path, where):
            empty = False
            yield row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{where} is not a whole gzip file ({error}). Make or download it again") from error
    except OSError as error:
        raise DataError(
            f"{where} cannot be read ({error.strerror or error}). Check the path and its rights"
        ) from error
    if empty:
        raise DataError(f"{where} holds no rows. Fill it or take it out")


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def text_lines(path: Path, where: str) -> Iterator[str]:
    """A text file line by line, each with its end; U+2028 and its like stand inside JSON strings and end no line."""
    start = 0  # of the line, in bytes
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"{where} is UTF-16 text. Save it again as UTF-8")
            if (at := line.find(b"\0")) >= 0:
                nul = f"byte {start + at} is NUL"
                raise DataError(f"{where} is not text: {nul}. Give a text file, or the suffix of its true format")
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{where} is not UTF-8: byte {start + error.start} is 0x{line[error.start]:02x} (line {number}). "
                    "Save it again as UTF-8"
                ) from error
            start += len(line)
            yield text.removeprefix("\ufeff") if number == 1 else text


def _parquet(path: Path, where: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    with _opened(path) as stream:
        source = pyarrow.BufferReader(stream.read()) if path.suffix == ".gz" else stream
        try:
            for batch in pyarrow.parquet.ParquetFile(source).iter_batches(PARQUET_ROWS):
                yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{where} is not a whole Parquet file ({error}). Make or download it again") from error


def _json(path: Path, where: str) -> Iterator[Row]:
    return json_rows(lambda: text_lines(path, where), where, lines=False)


def _json_lines(path: Path, where: str) -> Iterator[Row]:
    return json_rows(lambda: text_lines(path, where), where, lines=True)


def _csv(path: Path, where: str) -> Iterator[Row]:
    return table_rows(lambda: text_lines(path, where), where, ",")


def _tsv(path: Path, where: str) -> Iterator[Row]:
    return table_rows(lambda: text_lines(path, where), where, "\t")


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
