"""Whatever a name or a note holds, nothing but text reaches the terminal."""

import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from multitune.cli.main import run
from multitune.cli.output import echo, echo_json, open_console
from multitune.core.errors import RunFolderError

HOSTILE = "a\x1b]0;title\x07\x1b[2Jb\x9b31mc\x08\rd\u202ee"
SHOWN = "a�]0;title��[2Jb�31mc��d�e"


def test_no_text_of_a_console_acts_in_lines_tables_or_live_pictures() -> None:
    file = io.StringIO()
    console = open_console(file=file, force_terminal=True, color_system=None, width=200, legacy_windows=False)
    console.print(Text(HOSTILE))
    table = Table(HOSTILE)
    table.add_row(Text(HOSTILE))
    console.print(table)
    with Live(Text(HOSTILE), console=console, auto_refresh=False) as live:
        live.refresh()
    printed = file.getvalue()
    assert printed.count("a�]0;title�[2Jb�31m") >= 4  # rich itself leaves out BEL and backspace
    for bad in ("\x1b]0", "\x07", "\x9b", "\x08", "\u202e", "\x1b[2Jb"):
        assert bad not in printed


def test_messages_and_json_hold_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"first {HOSTILE}\nsecond")
    echo_json({HOSTILE: "ü"})
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first == f"first {SHOWN}"
    second, text = rest.split("\n", 1)
    assert second == "second" and text.isprintable() is False and text.strip().isprintable()
    assert json.loads(text) == {HOSTILE: "ü"}


def test_errors_hold_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise RunFolderError(f"{HOSTILE}: damaged")

    monkeypatch.setattr("multitune.cli.main.app", fails)
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 2 and capsys.readouterr().err == f"multitune: {SHOWN}: damaged\n"


def test_what_a_limit_caused_is_told_as_that_limit_and_no_fault_of_the_users(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError as error:
            raise RunFolderError("checkpoint: damaged") from error

    monkeypatch.setattr("multitune.cli.main.app", fails)
    with pytest.raises(SystemExit) as left:
        run()
    said = capsys.readouterr().err
    assert left.value.code == 1 and said.count("\n") == 1
    assert "too many open files" in said and "ulimit -n" in said and "checkpoint: damaged" in said


def test_a_message_that_cannot_be_written_leaves_the_exit_code_as_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "multitune", "check", str(tmp_path / "missing.yaml")]
    with open("/dev/full", "wb") as full:
        assert subprocess.run(command, stdout=full, stderr=full, check=False).returncode == 2


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("maximum recursion depth exceeded")])
def test_running_out_of_memory_or_depth_is_no_traceback(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr("multitune.cli.main.app", fails)
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 1 and capsys.readouterr().err.count("\n") == 1
