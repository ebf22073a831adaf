"""Laws of what a server keeps: once per request, so much per client, whole after a kill, and a full disk is told."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from multitune.core.errors import StorageError
from multitune.serving.learning import store as module
from multitune.serving.learning.store import (
    FeedbackLimitError,
    FeedbackTwiceError,
    KeptRequest,
    UnknownRequestError,
    UseStore,
)


def request(number: int, reason: str = "routed", text: str | None = None) -> KeptRequest:
    return KeptRequest(f"{number:032x}", "a", "one", reason, np.full(8, number % 100, dtype=np.float32), text)


@pytest.fixture
def store(tmp_path: Path) -> UseStore:
    return UseStore(tmp_path / "learning" / "state.sqlite")


def test_feedback_is_taken_once_for_a_request_that_was_issued(store: UseStore) -> None:
    store.keep(request(1))
    assert store.add_feedback(request(1).id, "client", "b", 10) == 1
    with pytest.raises(FeedbackTwiceError):
        store.add_feedback(request(1).id, "another", "a", 10)
    with pytest.raises(UnknownRequestError):
        store.add_feedback(request(2).id, "client", "a", 10)
    assert store.counts() == (1, 1)


def test_a_client_gives_so_much_feedback_and_another_is_not_held_up(store: UseStore) -> None:
    for number in range(4):
        store.keep(request(number))
    for number in range(2):
        store.add_feedback(request(number).id, "one", "a", 2)
    with pytest.raises(FeedbackLimitError):
        store.add_feedback(request(2).id, "one", "a", 2)
    assert store.add_feedback(request(2).id, "two", "a", 2) == 3


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_that_jumps_locks_no_client_out_and_loses_nothing(
    store: UseStore, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    for number in range(6):
        store.keep(request(number))
    for number in range(2):
        store.add_feedback(request(number).id, "one", "a", 2)
    now = time.time() + jump
    monkeypatch.setattr(time, "time", lambda: now)
    for number in range(2, 4):
        store.add_feedback(request(number).id, "one", "a", 2)
    with pytest.raises(FeedbackLimitError):
        store.add_feedback(request(4).id, "one", "a", 2)
    assert store.counts() == (6, 4)


def test_every_row_is_either_learned_from_or_held_back(store: UseStore) -> None:
    for number in range(40):
        store.keep(KeptRequest(f"{number:08x}", "a", "one", "routed", np.full(8, number, dtype=np.float32)))
        store.add_feedback(f"{number:08x}", "client", "base" if number % 2 else "gone" if number == 0 else "a", 100)
    learned, held = (store.claims(["a"], 0, 40, held_back) for held_back in (False, True))
    rows = sorted([*learned.features[:, 0].tolist(), *held.features[:, 0].tolist()])
    assert rows == list(range(1, 40)), "a task that is gone is left out"
    assert len(held) == 9 and set(learned.tasks) == {"a", "base"}
    assert len(store.claims(["a"], 10, 20, False)) + len(store.claims(["a"], 10, 20, True)) == 10


def test_the_oldest_requests_go_and_feedback_on_them_with_their_features_stays(
    store: UseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_REQUESTS", 100)
    store.keep(request(0))
    store.add_feedback(request(0).id, "client", "a", 10)
    for number in range(1, 600):
        store.keep(request(number))
    assert store.counts()[0] <= 100 + module.PRUNE_EVERY
    assert len(store.claims(["a"], 0, 9, False)) + len(store.claims(["a"], 0, 9, True)) == 1


def test_what_was_kept_is_there_after_a_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    code = (
        "import sys; from pathlib import Path; from tests.serving.test_use_store import *\n"
        f"store = UseStore(Path({str(file)!r}))\n"
        "for number in range(10**6):\n"
        "    store.keep(request(number)); store.add_feedback(request(number).id, 'client', 'a', 10**9)\n"
        "    print(number, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ) as writer:
        assert writer.stdout
        seen = [int(next(writer.stdout)) for _ in range(300)]
        writer.send_signal(signal.SIGKILL)
    again = UseStore(file)
    requests, feedback = again.counts()
    assert seen[-1] + 1 <= feedback <= requests <= feedback + 1
    assert sqlite3.connect(file).execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_full_disk_is_one_clear_error_and_the_file_stays_whole(store: UseStore) -> None:
    store._file.execute("pragma max_page_count = 16")  # as a full disk does, SQLite then refuses to grow the file
    with pytest.raises(StorageError, match=r"state\.sqlite: database or disk is full\. Free space"):
        for number in range(10_000):
            store.keep(request(number, text="x" * 500))
    kept = store.counts()[0]
    assert kept > 10
    store._file.execute("pragma max_page_count = 1000000")
    store.keep(request(20_000))
    assert store.counts()[0] == kept + 1


def test_a_damaged_file_is_told_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    file.write_bytes(b"this is no database, but long enough to look like one " * 20)
    with pytest.raises(StorageError, match="move the file away if it is damaged"):
        UseStore(file)
    assert file.read_bytes().startswith(b"this is no database")


def test_going_back_is_kept_with_the_feedback_it_distrusts(tmp_path: Path) -> None:
    store = UseStore(tmp_path / "state.sqlite")
    number = store.add_version("v0001", 0, 40, "why")
    store.set_live(number)
    assert (store.live, store.since) == (1, 0)
    store.set_live(0, since=55)
    store.close()
    again = UseStore(tmp_path / "state.sqlite")
    assert (again.live, again.since) == (0, 55)
    assert [version.until for version in again.versions()] == [40]


def spoiled(data: bytes, harm: str) -> bytes:
    """A file of SQLite with one fault."""
    return {
        "cut": data[: len(data) // 2],
        "other": b"{}",
        "header": b"x" + data[1:],
        "page": data[:4096] + b"\xff" * 64 + data[4160:],
    }[harm]


@pytest.mark.parametrize("harm", ["cut", "other", "header", "page", "folder", "pipe"])
def test_a_damaged_file_is_named_when_it_is_opened(harm: str, store: UseStore, tmp_path: Path) -> None:
    for number in range(200):
        store.keep(request(number))
    store.close()
    file = tmp_path / "learning" / "state.sqlite"
    data = file.read_bytes()
    file.unlink()
    if harm == "folder":
        file.mkdir()
    elif harm == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(spoiled(data, harm))
    with pytest.raises(StorageError, match=r"state\.sqlite"):
        UseStore(file)
