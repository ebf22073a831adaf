"""A lock has one holder, goes with its process however that ends, and never stands in the way of who only asks."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from multitune.core.errors import RunFolderError
from multitune.core.locks import hold, is_locked, only_one

HOLD = """
import sys, time
from pathlib import Path
from multitune.core.locks import hold
lock = hold(Path(sys.argv[1]), "in use")
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_holder_is_refused_with_the_given_words_until_the_first_lets_go(tmp_path: Path) -> None:
    lock = hold(tmp_path / "lock", "in use", patience=0)
    assert lock is not None
    with pytest.raises(RunFolderError, match="in use by me"):
        hold(tmp_path / "lock", "in use by me", patience=0.1)
    lock.release()
    assert not is_locked(tmp_path / "lock")


def test_a_lock_goes_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert is_locked(path)
        holder.kill()
        holder.wait()
    assert not is_locked(path)


def test_asking_makes_no_file(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


def test_who_only_asks_does_not_keep_a_process_from_its_work(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    ends = threading.Event()

    def ask() -> None:
        while not ends.wait(0.001):
            is_locked(tmp_path / "lock")

    curious = threading.Thread(target=ask)
    curious.start()
    try:
        for _ in range(20):
            with only_one(tmp_path / "lock"):
                pass
    finally:
        ends.set()
        curious.join()
    assert not is_locked(tmp_path / "lock")


def test_another_thread_may_release_a_lock(tmp_path: Path) -> None:
    lock = hold(tmp_path / "lock", "in use")
    assert lock is not None
    releasing = threading.Thread(target=lock.release)
    releasing.start()
    releasing.join()
    assert not is_locked(tmp_path / "lock")


@pytest.mark.parametrize("missing", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_worked_in_without_one(
    missing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with only_one(tmp_path / "lock"):
        assert hold(tmp_path / "lock", "in use") is None
        assert not is_locked(tmp_path / "lock")
