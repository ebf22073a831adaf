"""One data file as rows: JSON lines, JSON, CSV, TSV or Parquet, each also gzipped; a fault names file and line."""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multitune.core.errors import DataError

Row = dict[str, Any]
WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # only what prints as it was written: 7 is, 007 is not
HALF_PAIR = re.compile(r"[\ud800-\udfff]")


def is_data_file(path: Path) -> bool:
    """Whether the name ends like a format that `read_file` knows."""
    return _suffix(path) in READERS


def read_file(path: Path, place: str) -> list[Row]:
    """All rows of one file.

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
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{where} is not a whole gzip file ({error}). Make or download it again") from error
    except OSError as error:
        raise DataError(
            f"{where} cannot be read ({error.strerror or error}). Check the path and its rights"
        ) from error
    rows = READERS[_suffix(path)](content, where)
    if not rows:
        raise DataError(f"{where} holds no rows. Fill it or take it out")
    return rows


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _text(content: bytes, where: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{where} is UTF-16 text. Save it again as UTF-8")
    if (at := content.find(b"\0")) >= 0:
        raise DataError(f"{where} is not text: byte {at} is NUL. Give a text file, or the suffix of its true format")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts behind the byte order mark; a reader opens the file at its first byte.
        start = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        raise DataError(
            f"{where} is not UTF-8: byte {start} is 0x{content[start]:02x} (line {content[:start].count(10) + 1}). "
            "Save it again as UTF-8"
        ) from error


def _json_lines(content: bytes, where: str) -> list[Row]:
    rows: list[Row] = []
    # Not splitlines: U+2028 and its like stand inside JSON strings and end no line.
    for number, line in enumerate(_text(content, where).split("\n"), start=1):
        if line.strip():
            rows.append(json_line(line, f"{where} line {number}"))
    return rows


def json_line(line: str, where: str) -> Row:
    """One line as a row; `where` says which, for messages.

    Raises:
        DataError: it is no JSON object.
    """
    return _json_row(_parse(line, where, "the line"), where)


def _json(content: bytes, where: str) -> list[Row]:
    """A file named .json holds one list of objects, or JSON lines under another name."""
    text = _text(content, where)
    if not text.lstrip().startswith("["):
        return _json_lines(content, where)
    rows = _parse(text, where, "the file")
    return [_json_row(row, f"{where} item {number}") for number, row in enumerate(rows, start=1)]


def _parse(text: str, where: str, part: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        spot = f"line {error.lineno} column {error.colno}" if part == "the file" else f"column {error.colno}"
        raise DataError(f"{where} is not valid JSON ({error.msg} at {spot}). Remove or mend {part}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        raise DataError(f"{where} cannot be read as JSON ({error}). Remove or mend {part}") from error
    # Valid UTF-8 holds no half pair, so that only an escape can bring one in; no tokenizer could take it.
    if "\\u" in text and HALF_PAIR.search(json.dumps(value, ensure_ascii=False)):
        raise DataError(f"{where} holds half a character (a lone \\ud8… escape). Remove it or complete the pair")
    return value


def _json_row(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}, not an object with named columns. Write it as {{…}}")
    return row


def _csv(content: bytes, where: str) -> list[Row]:
    return _table(content, where, ",")


def _tsv(content: bytes, where: str) -> list[Row]:
    return _table(content, where, "\t")


def _table(content: bytes, where: str, delimiter: str) -> list[Row]:
    """Columns of whole numbers become int; all else stays the text it is, as 1.50 must not read 1.5."""
    reader = csv.reader(io.StringIO(_text(content, where), newline=""), delimiter=delimiter, strict=True)
    before = csv.field_size_limit(sys.maxsize)
    try:
        header = next(reader, [])
        if "" in header or len(set(header)) < len(header):
            raise DataError(f"{where} line 1 must name every column once, but is {header}. Mend the header")
        lines: list[list[str]] = []
        for line in reader:
            if line and len(line) != len(header):
                raise DataError(
                    f"{where} line {reader.line_num} has {len(line)} fields, the header has {len(header)}. "
                    "Mend the line, or quote the field that holds a separator"
                )
            if line:
                lines.append(line)
    except csv.Error as error:
        raise DataError(f"{where} line {reader.line_num} cannot be read ({error}). Mend its quotes") from error
    finally:
        csv.field_size_limit(before)
    columns: list[list[Any]] = [list(column) for column in zip(*lines, strict=True)]
    for i, column in enumerate(columns):
        if all(WHOLE_NUMBER.fullmatch(value) for value in column):
            columns[i] = [int(value) for value in column]
    return [dict(zip(header, values, strict=True)) for values in zip(*columns, strict=True)]


def _parquet(content: bytes, where: str) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{where} is not a whole Parquet file ({error}). Make or download it again") from error


READERS: dict[str, Callable[[bytes, str], list[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
