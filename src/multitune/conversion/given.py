"""A config of another tool while it is converted: which of its keys were used, and what its reader must know."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, final

from multitune.config.peers import COUNTERPARTS
from multitune.config.text import Tree
from multitune.core.errors import ConfigError

UNKNOWN = "no field of a run file is like it"


@dataclass(slots=True)
class Draft:
    """The fields of a run file on their way, and what differs, each with what to do."""

    fields: Tree = field(default_factory=dict[str, Any])
    notes: list[str] = field(default_factory=list[str])


@final
class Given:
    """The keys of a config; whatever is not taken by the end has no counterpart."""

    def __init__(self, fields: Mapping[str, Any], place: str) -> None:
        self.place = place
        self._fields = dict(fields)
        self._taken: set[str] = set()

    def take(self, *keys: str, default: Any = None) -> Any:
        """The value of the first of several keys that has one; all of them count as used."""
        self._taken.update(keys)
        return next((self._fields[key] for key in keys if self._fields.get(key) is not None), default)

    def number(self, *keys: str, default: float) -> float:
        """As `take`, of a number above or equal to 0.

        Raises:
            ConfigError: the value is none.
        """
        value = self.take(*keys, default=default)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if isinstance(value, bool) or not 0.0 <= number < float("inf"):
            raise ConfigError(f"{self.place}: {keys[0]} is {value!r}; it must be a number from 0 on. Correct it")
        return int(number) if number == int(number) else number

    def texts(self, *keys: str) -> list[str]:
        """As `take`, of several texts: a list, or one text with commas between them."""
        value = self.take(*keys, default=[])
        parts = value if isinstance(value, list) else str(value).split(",")
        return [text for part in parts if (text := str(part).strip())]

    def rest(self) -> list[str]:
        """A line for each meaning of the keys that were not taken and say something, with what to do."""
        left = [key for key, value in self._fields.items() if key not in self._taken and _says_something(value)]
        meanings: dict[str, list[str]] = {}
        for key in left:
            meanings.setdefault(COUNTERPARTS.get(key, UNKNOWN), []).append(key)
        return [f"{', '.join(keys)}: {_sentence(meaning)}" for meaning, keys in meanings.items()]


def _says_something(value: Any) -> bool:
    return value not in (None, False, "", [], {}, "no", "none", "None")


def _sentence(meaning: str) -> str:
    if meaning == UNKNOWN:
        return f"left out, {UNKNOWN}. See docs/schema.json for those there are"
    return f"not taken over; here it is {meaning}" if meaning.startswith("`") else f"no counterpart: {meaning}"


def unique_name(text: str, taken: Iterable[str]) -> str:
    """A name of a task made of a path, a hub id or a title; one that is taken gets a number behind it."""
    short = re.sub(r"(\.(jsonl?|csv|tsv|parquet|arrow|gz))+$", "", text.rstrip("/").rpartition("/")[2], flags=re.I)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", short).strip("._-")[:56] or "task"
    used = set(taken)
    return next(numbered for numbered in _numbered(name) if numbered not in used)


def _numbered(name: str) -> Iterator[str]:
    """The name itself, then `name-2` and so on."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))
