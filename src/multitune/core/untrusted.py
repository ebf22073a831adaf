"""What others wrote, read within bounds: regular files up to a size, JSON up to a depth, and code for a time.

Each bound can be raised by an environment variable, which the message of an error names.
"""

import errno
import json
import os
import signal
import stat
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from types import FrameType
from typing import Any

BOUNDS = {
    "CONFIG_BYTES": 4 << 20,  # of a run file or a study
    "CONFIG_VALUES": 100_000,  # in it, with aliases written out
    "JSON_BYTES": 1 << 28,  # of a JSON file that is read as a whole
    "ROW_BYTES": 1 << 28,  # of one line of a data file
    "EXPANSION": 100,  # times that a compressed file may grow, beyond its first 64 MB
    "RENDER_SECONDS": 10,  # of a template, for one row or question
    "RENDER_CHARACTERS": 1 << 22,  # that it may make of one: about a million tokens
    "PATTERN_SECONDS": 5,  # of the regular expressions of an adapter
    "ANSWER_BYTES": 1 << 24,  # of one response of a server
}


GROWS_FREELY = 64 << 20  # bytes that any compressed file may hold


def bound(name: str) -> int:
    """A bound of `BOUNDS`, or what `MULTITUNE_MAX_` and its name set in the environment."""
    chosen = os.environ.get(f"MULTITUNE_MAX_{name}", "")
    return int(chosen) if chosen.isascii() and chosen.isdecimal() else BOUNDS[name]


def most_unpacked(size: int) -> int:
    """Bytes that a compressed file of `size` bytes may grow to."""
    return GROWS_FREELY + bound("EXPANSION") * size


def raised_by(name: str) -> str:
    """The remedy of who meets a bound that is too low for him."""
    return f"to allow more, set MULTITUNE_MAX_{name} above {bound(name)}"


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a terminal, which may never end.
    """
    # Without waiting for whoever writes into a pipe.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind):
        os.close(handle)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is a pipe, a device or a terminal, not a file", str(path))
    return os.fdopen(handle, "rb")


def read_bytes(path: Path, name: str) -> bytes:
    """The bytes of a regular file that is no larger than the bound of this name.

    Raises:
        OSError: it cannot be read, is none or is larger.
    """
    most = bound(name)
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes; {raised_by(name)}", str(path))
    return data


def load_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: it cannot be read, is no regular file or too large.
        ValueError: it is not JSON, or of no sane depth.
    """
    return parse_json(read_bytes(path, "JSON_BYTES"))


def parse_json(text: str | bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is not JSON, or of no sane depth.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@contextmanager
def within_seconds(seconds: float) -> Generator[None]:
    """Give up code of others, such as a template, after a time.

    In threads other than the main one, and where there are no such timers (Windows), nothing is given up.

    Raises:
        TimeoutError: it took longer.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {seconds:g} seconds")

    handler = signal.signal(signal.SIGALRM, give_up)
    began = time.monotonic()
    before, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before:  # a timer of whoever calls us goes on
            signal.setitimer(signal.ITIMER_REAL, max(before - (time.monotonic() - began), 0.001))
