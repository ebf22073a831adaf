"""The event log of a run, read as a whole or followed as it grows: each line once, also where a resume cut it back."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitune.core.errors import RunFolderError
from multitune.core.results.events import Event, parse_line
from multitune.core.results.run import State
from multitune.core.run_folder import RunFolder
from multitune.core.untrusted import open_regular
from multitune.reporting.run_state import state_of

COMPARED = 1 << 16  # bytes before the place read up to that are read again each time, to see whether they still stand


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a log. It replaces whatever was read from its place on: a list is cut to `number` items first."""

    number: int  # its place, from 0
    mark: str  # digest of the log up to the end of this line
    event: Event

    @property
    def key(self) -> str:
        """Names this line of this log; see `unread`."""
        return f"{self.number}-{self.mark}"


class LogReader:
    """The reading end of events.jsonl.

    A resumed run cuts its log back to a checkpoint and writes the steps after it again, with other times. So the
    last 64 KB that were read are compared on each reading; where they changed, reading goes back to the first line
    that did.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0  # behind the last whole line that was read
        self._tail = b""  # what stood before it
        self._marks: list[str] = []  # of each line
        self._digest = hashlib.sha256()

    def news(self) -> list[Entry]:
        """The lines that are new since the last call, in order; one that is half written waits for its other half."""
        try:
            file = open_regular(self._path)
        except FileNotFoundError:  # not yet, or being started over
            return []
        except OSError as error:
            raise RunFolderError(f"{self._path}: cannot be read ({error.strerror}). Put it back") from error
        with file:
            data = self._read(file)
            if not data.startswith(self._tail):
                self._go_back(file)
                data = self._read(file)
        lines = data[len(self._tail) :].split(b"\n")[:-1]
        return [self._take(line + b"\n") for line in lines]

    def _read(self, file: Any) -> bytes:
        """What is known of the end, and what follows; in one piece, so that both are of one moment."""
        file.seek(self._offset - len(self._tail))
        return file.read()

    def _go_back(self, file: Any) -> None:
        """To the end of the lines that still stand as they were read."""
        marks, self._marks = self._marks, []
        self._offset, self._tail, self._digest = 0, b"", hashlib.sha256()
        file.seek(0)
        for line, mark in zip(file, marks, strict=False):
            ahead = self._digest.copy()
            ahead.update(line)
            if _short(ahead) != mark:
                break
            self._advance(line)

    def _advance(self, line: bytes) -> None:
        self._offset += len(line)
        self._tail = (self._tail + line)[-COMPARED:]
        self._digest.update(line)
        self._marks.append(_short(self._digest))

    def _take(self, line: bytes) -> Entry:
        self._advance(line)
        return Entry(len(self._marks) - 1, self._marks[-1], parse_line(line))


def _short(digest: Any) -> str:
    return digest.hexdigest()[:16]


def unread(entries: Sequence[Entry], key: str | None) -> Sequence[Entry]:
    """What a reader lacks who has read up to the entry of this key.

    Args:
        entries: the log from its first line.
        key: of the last entry read; None for a reader who has none.

    Returns:
        The entries after it; all of them where the log was cut back since and no longer holds it.
    """
    place = next((entry.number for entry in entries if entry.key == key), -1)
    return entries[place + 1 :]


@dataclass(frozen=True, slots=True)
class News:
    """What became known of a run at one moment."""

    state: State
    entries: list[Entry]

    @property
    def is_last(self) -> bool:
        """Whether nothing is to be expected any more."""
        return self.state == "finished" and not self.entries


class Follower:
    """A run folder followed: its state, and its log."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._log = LogReader(folder.events)

    def news(self) -> News:
        """State first, log second: of a run that has ended, no line is missed."""
        return News(state_of(self._folder), self._log.news())


def finite(value: Any) -> Any:
    """Plain values for JSON, which knows neither NaN nor infinity: those become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return value
