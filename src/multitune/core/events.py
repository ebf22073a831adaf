"""The event log of a run: every event is appended to events.jsonl and passed on to whoever watches."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from filelock import BaseFileLock

from multitune.core.files import storage
from multitune.core.locks import hold
from multitune.core.results.events import Event, parse_line
from multitune.core.seals import json_line
from multitune.core.untrusted import open_regular

Observe = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """An observer that ignores every event."""


def read_events(path: Path) -> Iterator[Event]:
    """Every line of a log as an event; nothing where the file is missing."""
    try:
        with open_regular(path) as file:
            for line in file:
                yield parse_line(line)
    except OSError:
        return


def log_digest(path: Path, size: int) -> str | None:
    """SHA-256 hex over the first `size` bytes of a log; None where it has fewer."""
    digest, left = hashlib.sha256(), size
    try:
        with open_regular(path) as file:
            while left and (block := file.read(min(left, 1 << 20))):
                digest.update(block)
                left -= len(block)
    except OSError:
        return None
    return None if left else digest.hexdigest()


class EventLog:
    """Appends events to a file and passes each on; the file can be cut back to where a checkpoint left it.

    One process at a time: from `hold` until `close` or the end of the process, the run is locked.
    """

    def __init__(self, path: Path, observe: Observe) -> None:
        self._path = path
        self._observe = observe
        self._file: IO[bytes] | None = None
        self._lock: BaseFileLock | None = None
        self._digest = hashlib.sha256()

    def hold(self) -> None:
        """Lock the run, if that is not done yet; its folder is made if need be.

        Raises:
            RunFolderError: another process writes this log; it is as it was.
        """
        if self._lock is not None:
            return
        with storage(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = hold(
            self._path.with_name("lock"),
            f"{self._path}: another process is training this run. Wait for it (`multitune watch`), or stop it",
        )

    def open(self, keep: int) -> None:
        """Begin to write behind the first `keep` bytes; what follows them is cut off, and half a line before.

        Raises:
            RunFolderError: another process writes this log; it is as it was.
        """
        self.hold()
        with storage(self._path):
            self._file = self._path.open("a+b")
            self._file.seek(0)
            head = self._file.read(min(keep, self.size))
            whole = head[: head.rfind(b"\n") + 1]
            self._file.truncate(len(whole))
        self._digest = hashlib.sha256(whole)

    def __call__(self, event: Event) -> None:
        """Write one event and show it."""
        assert self._file is not None, "opened before it is written"
        line = json_line(event.plain()).encode()
        with storage(self._path):
            self._file.write(line)
            self._file.flush()
        self._digest.update(line)
        self._observe(event)

    @property
    def size(self) -> int:
        """Bytes written so far; what a checkpoint remembers."""
        return self._path.stat().st_size

    @property
    def digest(self) -> str:
        """SHA-256 hex over them."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file, if it was opened; the lock goes with it."""
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
