"""Processes that may have little of something: open files, memory, or the size of a file."""

import os
import random
import re
import resource
from pathlib import Path

from benchmarks.torture.rig import Before, Outcome

# What the message of each says; a disk that is full says so, too.
NAMED = {
    "few open files": re.compile(r"too many open files \(this process may have [\d,]+ files\)"),
    "little memory": re.compile(r"ran out of memory \(this process may have [\d,]+ bytes\)"),
    "small files": re.compile(r"a file grew too large \(this process may have [\d,]+ bytes\)"),
    "disk full": re.compile(r"the disk is full"),
}


def few_open_files(chance: random.Random) -> tuple[Before, str]:
    """A few more than are open at the start."""
    more = chance.randint(0, 30)

    def limit() -> None:
        _set(resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd")) + more)

    return limit, f"{more} more files"


def little_memory(chance: random.Random) -> tuple[Before, str]:
    """A few megabytes more than are in use at the start."""
    more = int(2 ** chance.uniform(20, 28))
    return at_most(more), f"{more:,} more bytes of memory"


def small_files(chance: random.Random) -> tuple[Before, str]:
    """Files of some hundred bytes to some hundred thousand."""
    most = int(2 ** chance.uniform(6, 19))
    return lambda: _set(resource.RLIMIT_FSIZE, most), f"files of {most:,} bytes"


def _set(limit: int, value: int) -> None:
    """Set it for this process, which can't raise it again."""
    resource.setrlimit(limit, (value, value))


def unnamed(kind: str, done: Outcome) -> str:
    """What is wrong where a command that failed under a limit does not say which; empty where it does."""
    if done.code in (1, 2) and kind in NAMED and not NAMED[kind].search(done.output):
        return f"the limit is not named: {done.output[-600:]}"
    return ""


def at_most(more: int) -> Before:
    """So many more bytes of memory than are in use at the start."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
        _set(resource.RLIMIT_AS, pages * resource.getpagesize() + more)

    return limit
