"""What a row is known by: an id that no other row of its split has, and hashes of its columns and of its text."""

import hashlib
import json
from array import array
from collections.abc import Collection, Mapping
from typing import Any, final

from multitune.core.text import text_key

_JSON = json.JSONEncoder(sort_keys=True, default=str)
LEAST_TEXT = 24  # characters by which a row is known; two tasks may well ask about the same number or word


def content_hash(text: str) -> str:
    """16 hex digits that follow from a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def row_text(row: Mapping[str, Any]) -> str:
    """All columns of a row as JSON, in one order."""
    return _JSON.encode(row)


def row_hash(row: Mapping[str, Any]) -> str:
    """16 hex digits over all columns of a row."""
    return content_hash(row_text(row))


def source_hashes(row: Mapping[str, Any], text: str, names: Collection[str]) -> str:
    """Hashes by which a row is known in the data of other tasks, whatever they ask about it.

    Args:
        row: with its columns.
        text: `row_text` of it.
        names: the columns that a prompt shows; `row` for all of them.

    Returns:
        16 hex digits over all columns, and 16 over the text that is shown, 0 where that is short.
    """
    shown = [row[name] for name in row if name in names or "row" in names]
    texts = sorted(text_key(str(value)) for value in shown if isinstance(value, str | list))
    enough = sum(map(len, texts)) >= LEAST_TEXT
    return f"{content_hash(text)}{content_hash(repr(texts)) if enough else '0' * 16}"


@final
class _Hashes:
    """A set of 64-bit hashes in 16 to 32 bytes each; as integers of Python they would take 80."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 << 10))  # a power of two, at most half of them taken; 0 is free
        self._taken = 0

    def add(self, key: int) -> bool:
        """Take in a hash; False where it was there."""
        slots, key = self._slots, key or 1
        last = len(slots) - 1
        at = key & last
        while (found := slots[at]) != key:
            if not found:
                slots[at] = key
                self._taken += 1
                if 2 * self._taken > len(slots):
                    self._grow()
                return True
            at = (at + 1) & last
        return False

    def _grow(self) -> None:
        keys, self._taken = filter(None, self._slots), 0
        self._slots = array("Q", bytes(16 * len(self._slots)))
        for key in keys:
            self.add(key)


@final
class Ids:
    """Ids not used before: the second `a` becomes `a-2`. Of an id, only eight bytes of its hash are kept."""

    def __init__(self) -> None:
        self._used = _Hashes()
        self._times: dict[str, int] = {}  # of those that came more than once

    def once(self, id_: str) -> str:
        """The id, or the id with the number of its use."""
        key = int.from_bytes(hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        if self._used.add(key):
            return id_
        self._times[id_] = self._times.get(id_, 1) + 1
        return self.once(f"{id_}-{self._times[id_]}")
