"""Commands of multitune as processes that can be killed and timed: forks of one that has all imported."""

import errno
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDED = 5.0  # seconds that the last of a command's output may take behind its end
DEADLINE = 180.0  # seconds that no command on the tiny base needs, however busy the machine
ALLOWED = (0, 1, 2, 3)  # done, failed, wrong input, and an undecided gate; see cli.main.run

# Operations of Python that change files, as its audit events name them; `open` counts where it may write.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}

Before = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int | None  # of its exit, minus the signal that killed it; None where its deadline passed
    output: str  # stdout and stderr together
    seconds: float

    @property
    def fault(self) -> str | None:
        """Which law it broke: an exit code that is known, one message for a failure, no traceback, no hang."""
        if self.code is None:
            return "hang"
        if "Traceback (most recent call last)" in self.output or "fault of multitune itself" in self.output:
            return "traceback"
        if self.code not in ALLOWED:
            return f"exit code {self.code}"
        messages = len(re.findall(r"^(?:multitune: |.*Error .*──)", self.output, re.MULTILINE))
        if self.code in (1, 2) and messages != 1:
            return f"{messages} messages for exit code {self.code}"
        return None


@dataclass(frozen=True, slots=True)
class Try:
    """One command that something was done to."""

    command: str
    kind: str  # of what was done
    about: str  # when, to which file, or with what
    finding: str = ""  # which law it broke; empty where none


def run(arguments: Sequence[str], before: Before | None = None, deadline: float = DEADLINE) -> Outcome:
    """One command in a process of its own.

    Args:
        arguments: of `multitune`.
        before: done in that process first, such as to set a limit.
        deadline: seconds after which it is killed.
    """
    return wait(start(arguments, before, deadline), deadline)


@dataclass(frozen=True, slots=True)
class Started:
    """A command under way."""

    process: int
    written: subprocess.Popen[bytes]  # what its output goes through
    output: Path
    at: float


def start(arguments: Sequence[str], before: Before | None = None, deadline: float = DEADLINE) -> Started:
    """Begin a command; its output goes to a file, by way of a process that no limit of the command holds for."""
    output = Path(os.environ["TORTURE_OUTPUT"])
    with output.open("wb") as file:
        written = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    assert written.stdin is not None
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        code = 70
        try:
            code = _child(arguments, before, written.stdin.fileno(), deadline)
        finally:
            os._exit(code)  # whatever was raised: a child that went on would clean up its parent's folder
    written.stdin.close()
    return Started(process, written, output, time.monotonic())


def wait(started: Started, deadline: float = DEADLINE, kill_after: float | None = None) -> Outcome:
    """The end of a command, which is killed after `kill_after` seconds, or at its deadline."""
    ends = started.at + (deadline if kill_after is None else kill_after)
    while True:
        found, status = os.waitpid(started.process, os.WNOHANG)
        now = time.monotonic()
        if found:
            code: int | None = os.waitstatus_to_exitcode(status)
            break
        if now > ends:
            os.kill(started.process, signal.SIGKILL)
            os.waitpid(started.process, 0)
            code = None if kill_after is None else -signal.SIGKILL
            break
        time.sleep(0.005)
    try:
        started.written.wait(ENDED)
    except subprocess.TimeoutExpired:  # a process of the command's own lives on
        started.written.kill()
        started.written.wait()
    return Outcome(code, started.output.read_text("utf-8", "replace"), now - started.at)


def _child(arguments: Sequence[str], before: Before | None, output: int, deadline: float) -> int:
    """What the new process does, with an open file for its output; returns its exit code."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.dump_traceback_later(max(deadline - 1, 0.5), file=2)  # where it hangs
    sys.argv = ["multitune", *arguments]
    code: object = 0
    try:
        from multitune.cli.main import run as command

        if before is not None:
            before()
        command()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    return code if isinstance(code, int) else int(code is not None)


def counted(below: Path, act: Callable[[int, str], None]) -> Before:
    """Call `act` with number and name before each operation that changes a file below a folder."""

    def install() -> None:
        number, root, busy = 0, str(below), False

        def reached(name: str, path: object) -> None:
            nonlocal number, busy
            if busy or (isinstance(path, str | bytes | os.PathLike) and not os.fsdecode(path).startswith(root)):
                return
            number += 1
            busy = True
            try:
                act(number, name)
            finally:
                busy = False

        def audit(event: str, arguments: tuple[object, ...]) -> None:
            flags = arguments[2] if event == "open" else 0
            if event in CHANGES or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)):
                reached(event, arguments[0])

        sync = os.fsync

        def fsync(handle: int) -> None:
            reached("os.fsync", None)
            sync(handle)

        os.fsync = fsync
        sys.addaudithook(audit)

    return install


def kill_at(below: Path, number: int) -> Before:
    """kill -9 itself before the n-th operation that changes a file."""

    def act(reached: int, name: str) -> None:
        if reached == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return counted(below, act)


def kill_once(below: Path, reached_it: Callable[[], bool]) -> Before:
    """kill -9 itself before the first operation that changes a file once something is so."""

    def act(reached: int, name: str) -> None:
        if reached_it():
            os.kill(os.getpid(), signal.SIGKILL)

    return counted(below, act)


def fail_at(below: Path, number: int, code: int = errno.ENOSPC) -> Before:
    """From the n-th operation on that needs room, the disk is full."""

    def act(reached: int, name: str) -> None:
        if reached >= number and name not in ("os.remove", "os.rmdir", "os.truncate"):
            raise OSError(code, os.strerror(code))

    return counted(below, act)


def operations(arguments: Sequence[str], below: Path) -> tuple[Outcome, int]:
    """A command that is left in peace, and how many operations of it change files below a folder."""
    number_file = below.parent / "operations"

    def act(reached: int, name: str) -> None:
        os.pwrite(handle, f"{reached:12d}".encode(), 0)

    handle = os.open(number_file, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    done = run(arguments, counted(below, act))
    os.close(handle)
    return done, int(number_file.read_text() or 0)


def asked_and_ended(output: Path) -> Before:
    """Have the process, once it serves, ask itself for an answer, print that, and end itself."""

    def ask() -> None:
        while (found := re.search(r"http://[\d.:]+", output.read_text("utf-8", "replace"))) is None:
            time.sleep(0.02)
        body = {"model": "auto", "messages": [{"role": "user", "content": "say w1 w2"}], "max_tokens": 4}
        request = urllib.request.Request(f"{found[0]}/v1/chat/completions", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                fields = json.load(answer)
            print(fields["choices"][0]["message"]["content"], fields["multitune"]["adapter"], flush=True)
        except urllib.error.HTTPError as error:
            print(error.read().decode(), flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    return lambda: threading.Thread(target=ask, daemon=True).start()
