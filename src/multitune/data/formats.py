"""One data file as rows: JSON lines, JSON, CSV, TSV or Parquet, each also gzipped; a fault names file and line."""

import csv
import errno
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from multitune.core.errors import DataError
from multitune.core.untrusted import bound, open_regular, raised_by

Row = dict[str, Any]
GROWS_FREELY = 64 << 20  # bytes that any compressed file may hold
PARQUET_ROWS = 1000  # read at a time
WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # only what prints as it was written: 7 is, 007 is not
HALF_PAIR = re.compile(r"[\ud800-\udfff]")


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
    file = open_regular(path)
    return cast(BinaryIO, io.BufferedReader(_Unpacked(file), 1 << 20)) if path.suffix == ".gz" else file


class _Unpacked(io.RawIOBase):
    """A gzip file that does not grow beyond measure."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._gzip, self._grown = file, gzip.GzipFile(fileobj=file), 0
        self._most = GROWS_FREELY + bound("EXPANSION") * os.fstat(file.fileno()).st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._gzip.read(len(buffer))
        self._grown += len(data)
        if self._grown > self._most:
            raise OSError(errno.EFBIG, f"it grows to more than {self._most} bytes; {raised_by('EXPANSION')}")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._gzip.close()
        self._file.close()
        super().close()


def _lines(path: Path, where: str) -> Iterator[str]:
    """A text file line by line, each with its end; U+2028 and its like stand inside JSON strings and end no line."""
    start = 0  # of the line, in bytes
    most = bound("ROW_BYTES")
    with _opened(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, most + 1), b""), start=1):
            if len(line) > most:
                raise DataError(f"{where} line {number} has more than {most} bytes; {raised_by('ROW_BYTES')}")
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


def _json_lines(path: Path, where: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(path, where), start=1):
        if line.strip():
            place = f"{where} line {number}"
            yield _json_row(_parse(line.rstrip("\n"), place, "the line"), place)


def _json(path: Path, where: str) -> Iterator[Row]:
    """A file named .json holds one list of objects, or JSON lines under another name."""
    first = next((line for line in _lines(path, where) if line.strip()), "")
    if not first.lstrip().startswith("["):
        yield from _json_lines(path, where)
        return
    rows = _parse("".join(_lines(path, where)), where, "the file")
    for number, row in enumerate(rows, start=1):
        yield _json_row(row, f"{where} item {number}")


def _parse(text: str, where: str, part: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        spot = f"line {error.lineno} column {error.colno}" if part == "the file" else f"column {error.colno}"
        raise DataError(f"{where} is not valid JSON ({error.msg} at {spot}). Remove or correct {part}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        raise DataError(f"{where} cannot be read as JSON ({error}). Remove or correct {part}") from error
    # Valid UTF-8 holds no half pair, so that only an escape can bring one in; no tokenizer could take it.
    if "\\u" in text and HALF_PAIR.search(json.dumps(value, ensure_ascii=False)):
        raise DataError(f"{where} holds half a character (a lone \\ud8… escape). Remove it or complete the pair")
    return value


def _json_row(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}, not an object with named columns. Write it as {{…}}")
    return row


def _csv(path: Path, where: str) -> Iterator[Row]:
    return _table(path, where, ",")


def _tsv(path: Path, where: str) -> Iterator[Row]:
    return _table(path, where, "\t")


def _table(path: Path, where: str, delimiter: str) -> Iterator[Row]:
    """Columns of whole numbers become int; all else stays the text it is, as 1.50 must not read 1.5.

    What a column is shows at its last row: the file is read twice.
    """
    lines = _fields(path, where, delimiter)
    header = next(lines, [])
    whole = set(range(len(header)))
    for line in lines:
        whole = {i for i in whole if WHOLE_NUMBER.fullmatch(line[i])}
    lines = _fields(path, where, delimiter)
    next(lines, None)
    for line in lines:
        yield {name: int(line[i]) if i in whole else line[i] for i, name in enumerate(header)}


def _fields(path: Path, where: str, delimiter: str) -> Iterator[list[str]]:
    """The header and every line that is not empty, as fields."""
    reader = csv.reader(_table_lines(path, where), delimiter=delimiter, strict=True)
    before = csv.field_size_limit(sys.maxsize)
    try:
        header = next(reader, [])
        if "" in header or len(set(header)) < len(header):
            raise DataError(f"{where} line 1 must name every column once, but is {header}. Correct the header")
        yield header
        for line in reader:
            if line and len(line) != len(header):
                raise DataError(
                    f"{where} line {reader.line_num} has {len(line)} fields, the header has {len(header)}. "
                    "Correct the line, or quote the field that holds a separator"
                )
            if line:
                yield line
    except csv.Error as error:
        raise DataError(f"{where} line {reader.line_num} cannot be read ({error}). Correct its quotes") from error
    finally:
        csv.field_size_limit(before)


def _table_lines(path: Path, where: str) -> Iterator[str]:
    """Lines that a carriage return alone may end as well, as old spreadsheets write them."""
    for line in _lines(path, where):
        if "\r" in line:
            yield from io.StringIO(line, newline="")
        else:
            yield line


def _parquet(path: Path, where: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    with _opened(path) as stream:
        source = pyarrow.BufferReader(stream.read()) if path.suffix == ".gz" else stream
        try:
            file = pyarrow.parquet.ParquetFile(source)
            _require_sane(file.metadata, path, where)
            for batch in file.iter_batches(PARQUET_ROWS):
                yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{where} is not a whole Parquet file ({error}). Make or download it again") from error


def _require_sane(about: Any, path: Path, where: str) -> None:
    """Refuse a Parquet file that says it grows beyond measure, in bytes or in rows that all are one."""
    most = GROWS_FREELY + bound("EXPANSION") * path.stat().st_size
    grown = sum(about.row_group(place).total_byte_size for place in range(about.num_row_groups))
    if max(grown, about.num_rows) > most:
        raise DataError(f"{where} grows to more than {most} bytes or rows; {raised_by('EXPANSION')}")


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
