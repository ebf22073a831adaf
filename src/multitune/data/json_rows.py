"""The rows of a JSON text: an object per line, a list, or one of the other shapes that tables are written in."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, cast

from multitune.core.errors import DataError
from multitune.core.text import column_names

Row = dict[str, Any]
HALF_PAIR = re.compile(r"[\ud800-\udfff]")
CHATS = ("messages", "conversations")  # a list of objects that is one row


class _RepeatedError(ValueError):
    """A key stands twice in an object, with different values."""


def json_rows(read: Callable[[], Iterator[str]], where: str, lines: bool) -> Iterator[Row]:
    """The rows of a JSON text; of an object per line, one line at a time is held in memory.

    What is no object per line is read as a whole: a list of objects, objects of several lines each, one object around
    a list of objects, and what pandas writes (`to_json` in any orientation).

    Args:
        read: the lines, from the start each time.
        where: the file, for messages.
        lines: whether the file's name says that it holds an object per line.

    Raises:
        DataError: no valid JSON, or a shape that holds no rows.
    """
    texts = ((number, line) for number, line in enumerate(read(), start=1) if line.strip())
    first, second = next(texts, None), next(texts, None)
    if first is None:
        return
    try:
        value = _line(first[1], f"{where} line {first[0]}")
    except DataError:
        if second is None:
            raise
        value = None
    # One line alone may be a whole table, and a first line that is no object begins something longer.
    if isinstance(value, dict) and (second is not None or lines):
        rest = texts if second is None else chain([second], texts)
        yield from (
            _row(_line(line, f"{where} line {number}"), f"{where} line {number}")
            for number, line in chain([first], rest)
        )
        return
    if isinstance(value, list) and second is not None:
        _row(value, f"{where} line {first[0]}")
    yield from _whole("".join(read()), where, first if lines else None)


def _line(line: str, where: str) -> Any:
    """The value on one line; a comma behind it, as in a list without brackets, is passed over."""
    text = line.rstrip("\r\n")
    if text.rstrip().endswith("},"):
        text = text.rstrip()[:-1]
    return _parse(text, where, "the line")


def _whole(text: str, where: str, first: tuple[int, str] | None) -> Iterator[Row]:
    """The rows of a text that is read as a whole; `first` is its first line where it should have been an object."""
    try:
        values = _values(text, where)
    except DataError:
        if first is not None:  # the line by itself says best what is wrong
            _line(first[1], f"{where} line {first[0]}")
        raise
    rows = _shaped(values[0], where) if len(values) == 1 else values
    for number, row in enumerate(rows, start=1):
        yield _row(row, f"{where} item {number}")


def _values(text: str, where: str) -> list[Any]:
    """The value of a text, or its values where objects follow each other."""
    text = text.strip()
    values: list[Any] = []
    at = 0
    while at < len(text):
        try:
            value, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return [_parse(text, where, "the file")]
        values.append(value)
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
    _require_characters(values, text, where)
    return values


def _parse(text: str, where: str, part: str) -> Any:
    try:
        value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        if re.match(r"\{\s*'", text):
            raise DataError(
                f"{where} is a dict as Python prints it, not JSON. Write the rows with json.dumps or pandas' to_json"
            ) from error
        spot = f"line {error.lineno} column {error.colno}" if part == "the file" else f"column {error.colno}"
        raise DataError(f"{where} is not valid JSON ({error.msg} at {spot}). Remove or correct {part}") from error
    except _RepeatedError as error:
        raise DataError(f"{where} holds the key {error} twice, with different values. Remove one of them") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        raise DataError(f"{where} cannot be read as JSON ({error}). Remove or correct {part}") from error
    _require_characters(value, text, where)
    return value


def _require_characters(value: Any, text: str, where: str) -> None:
    """Refuse a half pair: valid UTF-8 holds none, so that only an escape can bring it in; no tokenizer takes it."""
    if "\\u" in text and HALF_PAIR.search(json.dumps(value, ensure_ascii=False)):
        raise DataError(f"{where} holds half a character (a lone \\ud8… escape). Remove it or complete the pair")


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        for key, value in pairs:
            if row[key] != value:
                raise _RepeatedError(repr(key))
    return row


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _row(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}, not an object with named columns. Write it as {{…}}")
    named = cast(Row, row)
    if all(map(str.isascii, named)):
        return named
    return dict(zip(column_names(list(named)), named.values(), strict=True))


def _shaped(value: Any, where: str) -> list[Any]:
    """The rows in one value: itself a list, or an object in a shape that nothing else has."""
    if isinstance(value, list):
        return cast(list[Any], value)
    table: Row = _row(value, where)
    columns, data = table.get("columns"), table.get("data")
    if isinstance(columns, list) and isinstance(data, list) and _is_list_of(data, list):  # pandas, split
        names = [str(name) for name in cast(list[Any], columns)]
        return [dict(zip(names, cells, strict=True)) for cells in cast(list[list[Any]], data)]
    if any(_is_list_of(table.get(key), dict) for key in CHATS):
        return [table]
    lists = [key for key, cell in table.items() if _is_list_of(cell, dict) and len(cell) > 1]
    if len(lists) > 1:
        raise DataError(f"{where} holds several lists of rows: {', '.join(lists)}. Write each to a file of its own")
    if lists:
        return table[lists[0]]
    cells = list(table.values())
    if all(isinstance(cell, list) for cell in cells) and len(set(map(len, cells))) == 1 and len(cells[0]) > 1:
        return [dict(zip(table, row, strict=True)) for row in zip(*cells, strict=True)]
    if all(isinstance(cell, Mapping) for cell in cells) and len({tuple(cell) for cell in cells}) == 1:
        return _indexed(table)
    return [table]


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in cast(list[Any], value))


def _indexed(table: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Rows by their number, or columns of cells by their number, as pandas writes a table."""
    outer, inner = list(table), list(next(iter(table.values())))
    if all(key.isdigit() for key in outer):
        return list(table.values())
    if inner and all(key.isdigit() for key in inner):
        return [{column: cells[key] for column, cells in table.items()} for key in inner]
    return [table]
