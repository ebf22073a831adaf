"""The run's diary: every event is a plain dict, appended to events.jsonl and shown to whoever watches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from multitune.core.files import storage
from multitune.core.locks import hold

Event = dict[str, Any]
Observe = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """The watcher of a run that nobody watches."""


class EventLog:
    """Appends events to a file and passes each on; the file can be cut back to where a checkpoint left it.

    One process at a time: from `open` until `close` or the end of the process, the file is locked.
    """

    def __init__(self, path: Path, observe: Observe) -> None:
        self._path = path
        self._observe = observe
        self._file: IO[bytes] | None = None

    def open(self, keep: int) -> None:
        """Begin to write behind the first `keep` bytes; what follows them is cut off.

        Raises:
            RunFolderError: another process writes this diary; it is as it was.
        """
        with storage(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        hold(self._file)
        with storage(self._path):
            self._file.truncate(min(keep, self._path.stat().st_size))

    def __call__(self, event: Event) -> None:
        """Write one event and show it."""
        assert self._file is not None, "opened before it is written"
        with storage(self._path):
            self._file.write(json.dumps(event).encode() + b"\n")
            self._file.flush()
        self._observe(event)

    @property
    def size(self) -> int:
        """Bytes written so far; what a checkpoint remembers."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Close the file, if it was opened; the lock goes with it."""
        if self._file is not None:
            self._file.close()
