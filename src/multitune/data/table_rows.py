"""The rows of a text with separators: CSV and TSV, as spreadsheets, pandas and European locales write them."""

import csv
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from multitune.core.errors import DataError
from multitune.core.text import column_name, written_list

Row = dict[str, Any]
WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # only what prints as it was written: 7 is, 007 is not
SEPARATORS = (",", ";", "\t", "|")
BLANK = "".join(SEPARATORS) + '" \t\r\n'  # what a line holds that says nothing
NOWHERE = "\x1f"  # a separator that no line has
EXCEL = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # a first line that Excel reads as the separator
Lines = Callable[[], Iterator[str]]  # of a file, from the start each time


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a text is cut into fields."""

    separator: str
    spaces: bool  # a blank behind each separator belongs to it
    quotes: bool  # quotes around a field are no part of it
    first: int  # lines before the header


def table_rows(read: Lines, where: str, separator: str) -> Iterator[Row]:
    """Columns of whole numbers become int, those of lists become lists; all else stays text: 1.50 must not read 1.5.

    What a column is shows at its last row: the file is read twice. Lines and columns without anything in them are
    left out, lines that repeat the header, and a first column of whole numbers without a name, the index of pandas.

    Args:
        read: the lines, from the start each time.
        where: the file, for messages.
        separator: what the file's name says; another one is taken where the header has that one and not this.

    Raises:
        DataError: a line with another number of fields than the header, or columns without or with the same name.
    """
    dialect = _dialect(read, separator)
    lines = _fields(read, where, dialect)
    header = next(lines, [])
    whole, listed = set(range(len(header))), set(range(len(header)))
    used = {i for i, name in enumerate(header) if name}
    for line in lines:
        whole = {i for i in whole if WHOLE_NUMBER.fullmatch(line[i])}
        listed = {i for i in listed if not line[i] or written_list(line[i]) is not None}
        if len(used) < len(header):
            used |= {i for i, cell in enumerate(line) if cell.strip()}
    if header and not header[0] and 0 in whole:
        used.discard(0)
    if unnamed := [i + 1 for i in sorted(used) if not header[i]]:
        raise DataError(
            f"{where} line {dialect.first + 1} must name every column once, but column {unnamed[0]} has no name. "
            "Correct the header"
        )
    lines = _fields(read, where, dialect)
    next(lines, None)
    for line in lines:
        yield {header[i]: _value(line[i], i in whole, i in listed) for i in sorted(used)}


def _value(cell: str, is_whole: bool, is_list: bool) -> Any:
    if is_whole:
        return int(cell)
    return written_list(cell) if is_list and cell else cell


def _dialect(read: Lines, separator: str) -> _Dialect:
    lines = enumerate(_table_lines(read))
    filled = ((at, line) for at, line in lines if line.strip(BLANK))
    first, header = next(filled, (0, ""))
    if excel := EXCEL.fullmatch(header):
        separator = excel[1]
        first, header = next(filled, (first + 1, ""))
    if separator not in header:
        separator = next((other for other in SEPARATORS if other in header), "") or _of_lines(read, first, separator)
    blanks = header.count(separator + " ")
    spaces = bool(blanks) and blanks == header.count(separator)
    return _Dialect(separator, spaces, separator != "\t" or not _quotes_are_text(read, header), first)


def _of_lines(read: Lines, first: int, separator: str) -> str:
    """The separator of a file whose header has none: none at all, unless each line has as many as every other."""
    counts = {other: set[int]() for other in SEPARATORS}
    for line in islice(_table_lines(read), first + 1, None):
        for other in SEPARATORS:
            counts[other].add(line.count(other))
    regular = any(len(found) == 1 and 0 not in found for found in counts.values())
    return separator if regular else NOWHERE


def _quotes_are_text(read: Lines, header: str) -> bool:
    """Whether quotes in a text with tabs are part of it: each line has its fields, and some quote closes no field."""
    tabs, open_quote = header.count("\t"), False
    for line in _table_lines(read):
        if '"' in line:
            open_quote = open_quote or not all(map(_is_closed, line.rstrip("\r\n").split("\t")))
        if line.strip() and line.count("\t") != tabs:
            return False
    return open_quote


def _is_closed(field: str) -> bool:
    """Whether a field is quoted from end to end, or does not begin with a quote."""
    inside = field[1:-1].replace('""', "")
    return not field.startswith('"') or (len(field) > 1 and field.endswith('"') and '"' not in inside)


def _fields(read: Lines, where: str, dialect: _Dialect) -> Iterator[list[str]]:
    """The header and every line that is not empty, as fields."""
    lines = _table_lines(read)
    for _ in range(dialect.first):
        next(lines)
    quoting = csv.QUOTE_MINIMAL if dialect.quotes else csv.QUOTE_NONE
    reader = csv.reader(
        lines, delimiter=dialect.separator, strict=True, quoting=quoting, skipinitialspace=dialect.spaces
    )
    before = csv.field_size_limit(sys.maxsize)
    try:
        written = next(reader, [])
        header = list(map(column_name, written))
        named = [name for name in header if name]
        if len(set(named)) < len(named):
            raise DataError(
                f"{where} line {dialect.first + 1} must name every column once, but is {header}. Correct the header"
            )
        yield header
        for line in reader:
            again = len(line) > 1 and line == written
            if any(map(str.strip, line)) and not again:
                yield _cells(line, header, f"{where} line {dialect.first + reader.line_num}")
    except csv.Error as error:
        raise DataError(
            f"{where} line {dialect.first + reader.line_num} cannot be read ({error}). Correct its quotes"
        ) from error
    finally:
        csv.field_size_limit(before)


def _cells(line: list[str], header: Sequence[str], where: str) -> list[str]:
    while len(line) > len(header) and not line[-1].strip():
        line.pop()
    if len(line) != len(header):
        raise DataError(
            f"{where} has {len(line)} fields, the header has {len(header)}. "
            "Correct the line, or quote the field that holds a separator"
        )
    return line


def _table_lines(read: Lines) -> Iterator[str]:
    """Lines that a carriage return alone may end as well, as old spreadsheets write them."""
    for line in read():
        if "\r" in line:
            yield from io.StringIO(line, newline="")
        else:
            yield line
