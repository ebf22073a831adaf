"""The run's diary: every event is a plain dict, appended to events.jsonl and shown to whoever watches."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multitune.core.rundir import hold, storage

Event = dict[str, Any]
Observe = Callable[[Event], None]
ALL = sys.maxsize  # bytes to keep of a diary that goes on where it stands


def unwatched(event: Event) -> None:
    """The watcher of a run that nobody watches."""


class EventLog:
    """Appends events to a file and passes each on; the file can be cut back to where a checkpoint left it.

    One process at a time: until it is closed or the process ends, the file is locked.

    Raises:
        RunFolderError: another process writes this diary.
    """

    def __init__(self, path: Path, observe: Observe, keep: int = 0) -> None:
        self._path = path
        self._observe = observe
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
        try:
            hold(self._file)
        except BaseException:
            self._file.close()
            raise
        with storage(path):
            self._file.truncate(min(keep, path.stat().st_size))

    def __call__(self, event: Event) -> None:
        """Write one event and show it."""
        with storage(self._path):
            self._file.write(json.dumps(event).encode() + b"\n")
            self._file.flush()
        self._observe(event)

    @property
    def size(self) -> int:
        """Bytes written so far; what a checkpoint remembers."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
