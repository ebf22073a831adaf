"""One data file as rows: JSON lines, JSON, CSV, TSV, Parquet or .xlsx, also gzipped; a fault names file and line."""

import errno
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from multitune.core.errors import DataError
from multitune.core.untrusted import bound, most_unpacked, open_regular, raised_by
from multitune.data.arrow_rows import arrow_rows
from multitune.data.foreign import BY_SUFFIX, require_rows
from multitune.data.json_rows import json_rows
from multitune.data.table_rows import table_rows
from multitune.data.workbook import Workbook

Row = dict[str, Any]
PARQUET_ROWS = 1000  # read at a time
WESTERN = "windows-1252"  # what Excel writes in western Europe and America where it is not asked for UTF-8


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What a file does not say of itself."""

    encoding: str = "utf-8"  # of text files; one of which ASCII is a part
    sheet: str | None = None  # of a workbook


AS_WRITTEN = FileOptions()


def is_data_file(path: Path) -> bool:
    """Whether the name ends like a format that `read_rows` knows."""
    return suffix_of(path) in READERS


def read_rows(path: Path, place: str, options: FileOptions = AS_WRITTEN) -> Iterator[Row]:
    """The rows of one file, each read when it is asked for; only a JSON list is held in memory.

    Args:
        path: an existing file; its suffix tells the format, a `.gz` behind it is taken off first.
        place: whose data it is, for messages.
        options: its encoding and its sheet.

    Raises:
        DataError: unknown suffix, damaged content, text in another encoding, or no rows.
        MissingExtraError: a workbook without openpyxl.
    """
    where = f"{place}: {path}"
    if not is_data_file(path):
        known = ", ".join(READERS)
        if looks := BY_SUFFIX.get(path.suffix.lower()):
            raise DataError(f"{where} is {looks}. Known: {known}, and each with .gz behind it")
        raise DataError(f"{where} has no known suffix. Known: {known}, and each with .gz behind it. Rename the file")
    empty = True
    try:
        for row in READERS[suffix_of(path)](path, where, options):
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


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, in lower case, without `.gz` behind it."""
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
        self._most = most_unpacked(os.fstat(file.fileno()).st_size)

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


def text_lines(path: Path, where: str, encoding: str = "utf-8") -> Iterator[str]:
    """A text file line by line, each with its end; U+2028 and its like stand inside JSON strings and end no line."""
    start = 0  # of the line, in bytes
    most = bound("ROW_BYTES")
    with _opened(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, most + 1), b""), start=1):
            if len(line) > most:
                raise DataError(f"{where} line {number} has more than {most} bytes; {raised_by('ROW_BYTES')}")
            if number == 1:
                require_rows(line, where)
            if (at := line.find(b"\0")) >= 0:
                nul = f"byte {start + at} is NUL"
                raise DataError(f"{where} is not text: {nul}. Give a text file, or the suffix of its true format")
            try:
                text = line.decode(encoding)
            except UnicodeDecodeError as error:
                at = f"byte {start + error.start} is 0x{line[error.start]:02x} (line {number})"
                raise DataError(f"{where} is not {encoding.upper()}: {at}. {_as_western(line, error)}") from error
            start += len(line)
            yield text.removeprefix("\ufeff")  # also where files with one were put together


def _as_western(line: bytes, error: UnicodeDecodeError) -> str:
    """What to do with a line that is in another encoding, and how it would read in the usual one."""
    with suppress(UnicodeDecodeError):
        around = line[max(0, error.start - 20) : error.start + 20].decode(WESTERN).strip()
        return f"Save it again as UTF-8; or, if {around!r} reads right, write beside data.train: encoding: {WESTERN}"
    return "Save it again as UTF-8, or write its encoding: data.encoding"


def _parquet(path: Path, where: str, options: FileOptions) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    with _opened(path) as stream:
        source = pyarrow.BufferReader(stream.read()) if path.suffix == ".gz" else stream
        begins = source.read(32)
        source.seek(0)
        if begins[:4] != b"PAR1":
            require_rows(begins, where)
        try:
            file = pyarrow.parquet.ParquetFile(source)
            _require_sane(file.metadata, path, where)
            for batch in file.iter_batches(PARQUET_ROWS):
                yield from arrow_rows(batch)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{where} is not a whole Parquet file ({error}). Make or download it again") from error


def _json(path: Path, where: str, options: FileOptions) -> Iterator[Row]:
    return json_rows(lambda: text_lines(path, where, options.encoding), where, lines=False)


def _json_lines(path: Path, where: str, options: FileOptions) -> Iterator[Row]:
    return json_rows(lambda: text_lines(path, where, options.encoding), where, lines=True)


def _csv(path: Path, where: str, options: FileOptions) -> Iterator[Row]:
    return table_rows(lambda: text_lines(path, where, options.encoding), where, ",")


def _tsv(path: Path, where: str, options: FileOptions) -> Iterator[Row]:
    return table_rows(lambda: text_lines(path, where, options.encoding), where, "\t")


def _xlsx(path: Path, where: str, options: FileOptions) -> Iterator[Row]:
    with _opened(path) as stream:
        return Workbook(stream, where).rows(options.sheet)


def sheet_names(path: Path, place: str) -> list[str]:
    """The sheets of a workbook that have rows; none of any other file.

    Raises:
        MissingExtraError: a workbook without openpyxl.
        DataError: it is no workbook.
    """
    if suffix_of(path) not in WORKBOOKS:
        return []
    with _opened(path) as stream:
        return Workbook(stream, f"{place}: {path}").sheets()


def _require_sane(about: Any, path: Path, where: str) -> None:
    """Refuse a Parquet file that says it grows beyond measure, in bytes or in rows that all are one."""
    most = most_unpacked(path.stat().st_size)
    grown = sum(about.row_group(place).total_byte_size for place in range(about.num_row_groups))
    if max(grown, about.num_rows) > most:
        raise DataError(f"{where} grows to more than {most} bytes or rows; {raised_by('EXPANSION')}")


WORKBOOKS = (".xlsx", ".xlsm")
TEXTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
READERS: dict[str, Callable[[Path, str, FileOptions], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    **dict.fromkeys(WORKBOOKS, _xlsx),
}
