"""What others wrote is read within bounds, which the environment can raise."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from multitune.core.errors import RunFolderError
from multitune.core.files import read_json
from multitune.core.untrusted import load_json, open_regular, read_bytes, within_seconds


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(OSError, match=r"not a file|Is a directory"):
        open_regular(path)


def test_a_file_beyond_its_bound_names_what_raises_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big.json").write_text("[1, 2, 3]")
    monkeypatch.setenv("MULTITUNE_MAX_JSON_BYTES", "8")
    with pytest.raises(OSError, match="more than 8 bytes; to allow more, set MULTITUNE_MAX_JSON_BYTES above 8"):
        read_bytes(tmp_path / "big.json", "JSON_BYTES")
    monkeypatch.setenv("MULTITUNE_MAX_JSON_BYTES", "9")
    assert load_json(tmp_path / "big.json") == [1, 2, 3]


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "1" * 200_000, "", "\xff"])
def test_a_damaged_file_of_a_run_is_the_users_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunFolderError, match="damaged"):
        read_json(tmp_path / "scores.json")


def test_what_takes_too_long_is_given_up_and_an_outer_timer_goes_on() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TimeoutError, match=r"more than 0\.05 seconds"), within_seconds(0.05):
            while True:
                pass
        while not rung:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_in_a_thread_nothing_is_given_up() -> None:
    done: list[bool] = []

    def work() -> None:
        with within_seconds(0.001):
            time.sleep(0.02)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
