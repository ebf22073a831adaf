"""A run watched from elsewhere: a real training, killed and resumed, seen by the terminal and by the browser alike."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import yaml
from rich.console import Console

from multitune.cli import live
from multitune.cli.live import watch_run
from multitune.core.errors import RunFolderError
from multitune.core.locks import only_one
from multitune.core.run_folder import RunFolder
from multitune.core.seals import parse_line
from multitune.reporting.event_log import Follower

PATIENCE = 180.0  # seconds until what does not come fails a test
MULTITUNE = [sys.executable, "-m", "multitune.cli.main"]

# Trains, waits after step 3 until somebody watches, and dies after step 5; checkpoints are those of steps 2 and 4.
DOOMED = """
import os, signal, sys, time
from pathlib import Path
from multitune.config.load import load_config
from multitune.pipeline import run_experiment

def observe(event):
    if event.kind == "step" and event.step == 3:
        deadline = time.monotonic() + float(sys.argv[3])
        while not Path(sys.argv[2]).exists():
            assert time.monotonic() < deadline, "nobody watches"
            time.sleep(0.05)
    if event.kind == "step" and event.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

run_experiment(load_config(sys.argv[1]), observe=observe)
"""


def logged(folder: Path) -> list[dict[str, Any]]:
    return [parse_line(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def wait_for(what: str, come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not come():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


def messages(url: str) -> Generator[tuple[str, dict[str, Any]]]:
    """(kind, data) of each message of a stream."""
    with httpx.stream("GET", f"{url}/events", timeout=PATIENCE) as answer:
        kind = "message"
        for line in answer.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                kind = value
            elif key == "data":
                yield kind, json.loads(value)
                kind = "message"


class Reader:
    """A browser: what it has after the messages so far, and the steps in the order in which they came."""

    def __init__(self, stream: Iterator[tuple[str, dict[str, Any]]]) -> None:
        self._stream = stream
        self.events: list[dict[str, Any]] = []
        self.steps: list[int] = []
        self.states: list[str] = []

    def until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            kind, data = next(self._stream)
            if kind == "state":
                self.states.append(data["state"])
                continue
            assert data["number"] <= len(self.events), "a line was left out"
            del self.events[data["number"] :]
            self.events.append(data["event"])
            if data["event"]["kind"] == "step":
                self.steps.append(data["event"]["step"])


class Story:
    """What was seen while a run was trained, killed, resumed and finished."""

    def __init__(self, folder: Path, printed: str, code: int, reader: Reader) -> None:
        self.folder, self.printed, self.code, self.reader = folder, printed, code, reader


@pytest.fixture(scope="module")
def story(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Story:
    home = tmp_path_factory.mktemp("killed")
    train = {**run_fields["train"], "max_steps": 8, "validate_every": 2, "validate_metric": False}
    fields = {**run_fields, "train": train, "adapters": "shared", "output": str(home / "runs")}
    (home / "run.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    folder = home / "runs" / "tiny"
    doomed = subprocess.Popen([sys.executable, "-c", DOOMED, home / "run.yaml", home / "go", str(PATIENCE)])
    wait_for("the third step", lambda: (folder / "events.jsonl").exists() and '"step": 3' in log_text(folder))
    watching = subprocess.Popen([*MULTITUNE, "watch", folder], stdout=subprocess.PIPE, text=True)
    serving = subprocess.Popen(
        [*MULTITUNE, "watch", folder, "--browser", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None and serving.stdout is not None
    url = re.findall(r"http://[\d.:]+", serving.stdout.readline())[0]
    reader = Reader(messages(url))
    reader.until(lambda: reader.steps[-1:] == [3] and reader.states == ["running"])
    printed = [line := watching.stdout.readline()]
    while not line.startswith("step 3/8"):
        printed.append(line := watching.stdout.readline())
    (home / "go").touch()
    assert doomed.wait(PATIENCE) == -signal.SIGKILL
    reader.until(lambda: reader.states[-1] == "stopped" and reader.steps[-1] == 5)
    while "waiting for `multitune train FILE --resume`" not in line:
        printed.append(line := watching.stdout.readline())
    done = subprocess.run([*MULTITUNE, "train", home / "run.yaml", "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reader.until(lambda: reader.states[-1] == "finished")
    rest, _ = watching.communicate(timeout=PATIENCE)
    serving.send_signal(signal.SIGINT)
    serving.wait(PATIENCE)
    serving.stdout.close()
    return Story(folder, "".join(printed) + rest, watching.returncode, reader)


def log_text(folder: Path) -> str:
    return (folder / "events.jsonl").read_text()


def test_the_browser_ends_with_the_log_of_a_run_that_was_killed_and_resumed(story: Story) -> None:
    final = logged(story.folder)
    assert [event["kind"] for event in story.reader.events] == [event["kind"] for event in final]
    shown = [(e["step"], e["seconds"], e["tokens"]) for e in story.reader.events if e["kind"] == "step"]
    assert shown == [(e["step"], e["seconds"], e["tokens"]) for e in final if e["kind"] == "step"]
    others = [event for event in final if event["kind"] != "step"]
    assert [event for event in story.reader.events if event["kind"] != "step"] == others


def test_only_the_steps_after_the_checkpoint_are_told_twice(story: Story) -> None:
    assert story.reader.steps == [1, 2, 3, 4, 5, 5, 6, 7, 8]


def test_the_states_follow_one_another(story: Story) -> None:
    assert story.reader.states == ["running", "stopped", "running", "finished"]


def test_the_terminal_tells_the_same_and_ends_with_the_table(story: Story) -> None:
    steps = [int(found) for found in re.findall(r"^step (\d+)/8 \(", story.printed, re.MULTILINE)]
    assert steps == story.reader.steps
    lines = story.printed.splitlines()
    assert lines.index("back to step 4, from where the run goes on") > lines.index(live.STATES["stopped"])
    assert (
        lines.count(live.STATES["stopped"]) == 1
        and "evaluating …" in lines
        and lines[-1] == f"run folder: {story.folder}"
    )
    assert (story.code, "verdict" in story.printed) == (0, True)


def test_the_log_holds_the_evaluation_too(story: Story) -> None:
    kinds = [event["kind"] for event in logged(story.folder)]
    after = kinds[len(kinds) - 1 - kinds[::-1].index("step") :]
    assert after.count("evaluated") == 4 and after.count("phase") == 2  # base and shared on two tasks; two phases


def test_watching_a_finished_run_shows_it_and_ends(story: Story) -> None:
    printed = watched(story.folder)
    assert "step 8/8 (100%)" in printed and f"run folder: {story.folder}" in printed


def watched(folder: Path, once: bool = False) -> str:
    file = io.StringIO()
    watch_run(folder, Console(file=file, width=120, color_system=None), once)
    return file.getvalue()


def test_once_shows_the_present_state_of_a_run_that_is_not_finished(story: Story, tmp_path: Path) -> None:
    events = [event for event in logged(story.folder) if event.get("step", 0) <= 5]
    (tmp_path / "config.yaml").write_text((story.folder / "config.yaml").read_text())
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"kind": "st')
    lines = watched(tmp_path, once=True).splitlines()
    assert lines[0] == f"{tmp_path.name}: stopped"
    assert any("step 5/8 (62%)" in line for line in lines)
    assert any(line.split()[:1] == ["colours"] for line in lines)
    assert "left" not in "".join(lines)


def test_a_second_trainer_is_refused_while_the_first_is_at_work(story: Story, tmp_path: Path) -> None:
    with only_one(RunFolder(story.folder).lock):
        for option in ("--resume", "--overwrite"):
            command = [*MULTITUNE, "train", story.folder.parents[1] / "run.yaml", option]
            done = subprocess.run(command, capture_output=True, text=True)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert "another process is training this run" in done.stderr
    assert Follower(RunFolder(story.folder)).news().state == "finished"


def test_ctrl_c_leaves_quietly(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    with subprocess.Popen(
        [*MULTITUNE, "watch", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "no process trains this run" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, errors) == (130, "", "")


def test_what_is_no_run_is_not_watched(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        watch_run(tmp_path, Console(file=io.StringIO()))


def test_a_hostile_log_moves_no_cursor(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    shared = {"tasks": {"\x1b[2J": 1.0, "[bold]b": 1.0}, "shares": {}}
    step = {"kind": "step", "step": 1, "steps": 2, "seconds": 1.0, "tokens": 1, "adapters": {"\x1b": shared}}
    events = [step, {"kind": "note", "text": "\x1b]0;title\x07\r\nx"}]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    printed = watched(tmp_path, once=True)
    assert not set(printed) & {"\x1b", "\x07", "\r"} and "[bold]b" in printed


def test_interrupting_a_follower_is_exit_code_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "config.yaml").write_text("name: x\n")
    monkeypatch.setattr(live.time, "sleep", interrupt)
    with pytest.raises(typer.Exit) as left:
        watch_run(tmp_path, Console(file=io.StringIO()))
    assert left.value.exit_code == 130
