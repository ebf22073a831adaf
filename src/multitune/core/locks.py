"""One process at a time in a run or a folder: locks that go with the process, however it ends."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from multitune.core.errors import RunFolderError
from multitune.core.files import storage


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock of a file; False where there is no file or no locks."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def hold(diary: IO[bytes], attempts: int = 20) -> None:
    """Lock an open diary for whoever writes it: the lock goes with the process, however that ends.

    Whoever asks `RunFolder.is_held` holds a lock for an instant too, hence the attempts, a tenth of a second apart.

    Raises:
        RunFolderError: another process writes it.
    """
    for attempt in range(attempts):
        try:
            fcntl.flock(diary, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if attempt == attempts - 1:
                raise RunFolderError(
                    f"{diary.name}: another process is training this run. Wait for it (`multitune watch`), or stop it"
                ) from error
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return
        else:
            return


@contextmanager
def only_one(folder: Path) -> Generator[None]:
    """Hold a folder, made here if need be, against a second process that would work in it too.

    Raises:
        RunFolderError: another process holds it.
        StorageError: it cannot be made.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    with lock:
        try:
            hold(lock, attempts=1)
        except RunFolderError as error:
            raise RunFolderError(
                f"{folder}: another process is at work here. Wait for it, or stop it first"
            ) from error
        yield
