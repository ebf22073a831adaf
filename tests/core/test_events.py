"""An event log has one writer at a time, and a lock that ends with its process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from multitune.core.errors import RunFolderError
from multitune.core.events import EventLog, unwatched
from multitune.core.results.events import NoteEvent
from multitune.core.run_folder import RunFolder

HOLD = """
import sys, time
from pathlib import Path
from multitune.core.events import EventLog, unwatched
log = EventLog(Path(sys.argv[1]), unwatched)
log.open(0)
print("held", flush=True)
time.sleep(600)
"""


def opened(path: Path, keep: int = 0) -> EventLog:
    log = EventLog(path, unwatched)
    log.open(keep)
    return log


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_a_log_goes_on_where_it_stands_or_where_a_checkpoint_left_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for keep, text in ((0, "first"), (10**9, "second"), (10**9, "third")):
        log = opened(path, keep)
        log(NoteEvent(text=text))
        size = log.size
        log.close()
    assert texts(path) == ["first", "second", "third"]
    opened(path, size // 3).close()
    assert path.stat().st_size == size // 3


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    log = opened(folder.events)
    log(NoteEvent(text="mine"))
    assert folder.is_held
    second = EventLog(folder.events, unwatched)
    with pytest.raises(RunFolderError, match="another process is training this run"):
        second.open(0)
    second.close()
    assert texts(folder.events) == ["mine"]
    log.close()
    assert not folder.is_held


def test_a_writer_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, folder.events], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "held\n"
        assert folder.is_held
        writer.kill()
        writer.wait()
    assert not folder.is_held


def test_a_folder_without_a_log_is_not_held(tmp_path: Path) -> None:
    assert not RunFolder(tmp_path).is_held
