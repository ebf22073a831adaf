"""One process at a time in a folder: locks that go with the process, however it ends."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from multitune.core.errors import RunFolderError
from multitune.core.files import recover_tree, storage

_log = logging.getLogger(__name__)

PAUSE = 0.1  # seconds between attempts


def _lock(path: Path) -> FileLock:
    """A lock that goes with its process, hence no soft one, and that any thread of the process may release."""
    return FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock; False where there is none, or where the file system knows no locks.

    Takes the lock for an instant to find out, and makes no file.
    """
    if not path.is_file():
        return False
    try:
        with _lock(path):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def hold(path: Path, refusal: str, patience: float = 2.0) -> BaseFileLock | None:
    """Take a lock until it is released or the process ends; None where the file system knows no locks.

    Whoever asks `is_locked` holds the lock for an instant too, hence the patience.

    Args:
        path: of the lock file, in a folder that exists.
        refusal: what to say where another process holds it.
        patience: seconds before giving up.

    Raises:
        RunFolderError: another process holds it.
    """
    lock = _lock(path)
    try:
        lock.acquire(timeout=patience, poll_interval=PAUSE)
    except Timeout as error:
        raise RunFolderError(refusal) from error
    except (OSError, NotImplementedError) as error:
        _log.warning("%s cannot be locked (%s): nothing keeps a second process out", path, error)
        return None
    return lock


@contextmanager
def only_one(lock: Path) -> Generator[None]:
    """Hold a lock, whose folder is made if need be, against a second process that would work in it too.

    What killed writes left in the folder is put right first.

    Raises:
        RunFolderError: another process holds it.
        StorageError: the folder cannot be made.
    """
    with storage(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
    held = hold(lock, f"{lock.parent}: another process is at work here. Wait for it, or stop it first")
    try:
        recover_tree(lock.parent)
        yield
    finally:
        if held is not None:
            held.release()
