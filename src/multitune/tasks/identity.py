"""What a row is known by: an id that no other row of its split has, and hashes of its columns and of its text."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, final

from multitune.core.text import text_key

LEAST_TEXT = 24  # characters by which a row is known; two tasks may well ask about the same number or word


def content_hash(text: str) -> str:
    """16 hex digits that follow from a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_hashes(row: Mapping[str, Any], names: Collection[str]) -> str:
    """Hashes by which a row is known in the data of other tasks, whatever they ask about it.

    Args:
        row: with its columns.
        names: the columns that a prompt shows; `row` for all of them.

    Returns:
        16 hex digits over all columns, and 16 over the text that is shown, 0 where that is short.
    """
    shown = [row[name] for name in row if name in names or "row" in names]
    texts = sorted(text_key(str(value)) for value in shown if isinstance(value, str | list))
    enough = sum(map(len, texts)) >= LEAST_TEXT
    whole = content_hash(json.dumps(row, sort_keys=True, default=str))
    return f"{whole}{content_hash(repr(texts)) if enough else '0' * 16}"


@final
class Ids:
    """Ids not used before: the second `a` becomes `a-2`. Of an id, only eight bytes of its hash are kept."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._times: dict[str, int] = {}  # of those that came more than once

    def once(self, id_: str) -> str:
        """The id, or the id with the number of its use."""
        key = int.from_bytes(hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        if key not in self._used:
            self._used.add(key)
            return id_
        self._times[id_] = self._times.get(id_, 1) + 1
        return self.once(f"{id_}-{self._times[id_]}")
