"""Limits of the system that a process runs into: open files, memory, the size of a file, room on the disk."""

import errno
import re
from collections.abc import Iterator

ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}

# What libraries below us say in errors of their own, which hold no number.
_WORDS = {
    errno.EMFILE: re.compile("Too many open files"),
    errno.ENOMEM: re.compile(
        "[Cc]an ?not allocate memory|can't allocate memory|bad_alloc|can't start new thread|failed to map segment"
    ),
    errno.EFBIG: re.compile("File too large"),
    errno.ENOSPC: re.compile("No space left on device"),
    errno.EDQUOT: re.compile("Disk quota exceeded"),
}


def limit_met(error: BaseException) -> str | None:
    """Which limit an error is about, or one that it came from, with the remedy; None for any other error."""
    # Whoever turned a MemoryError into an error of ours knew what it is: Python's parser raises it for brackets, too.
    numbers = [errno.ENOMEM] if isinstance(error, MemoryError) else map(_number, _chain(error))
    for number in numbers:
        if number in ROOM:
            return f"{ROOM[number]}. Free some space"
        if number in (errno.EMFILE, errno.ENFILE):
            return f"too many open files{_allowed('RLIMIT_NOFILE', 'files')}. Raise the limit: ulimit -n 4096"
        if number == errno.ENOMEM:
            return (
                f"ran out of memory{_allowed('RLIMIT_AS', 'bytes')}. Use smaller inputs, a machine with more memory, "
                "or a higher limit: ulimit -v"
            )
        if number == errno.EFBIG and (allowed := _allowed("RLIMIT_FSIZE", "bytes")):
            return f"a file grew too large{allowed}. Raise the limit: ulimit -f unlimited"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _number(error: BaseException) -> int | None:
    """The number of the system's error, as the error holds or words it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return next((number for number, words in _WORDS.items() if words.search(str(error))), None)


def _allowed(limit: str, unit: str) -> str:
    """How much a process may have, where it is bounded."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    most = resource.getrlimit(getattr(resource, limit))[0]
    return "" if most == resource.RLIM_INFINITY else f" (this process may have {most:,} {unit})"
