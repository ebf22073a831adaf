"""The log: silent in a library and on the command line, on stderr with --verbose, and never in a result."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from multitune.core.files import recover_folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multitune.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder whose replacement was killed between its two renames."""
    (tmp_path / ".old-state").mkdir()
    return tmp_path / "state"


def test_a_library_user_hears_of_what_was_recovered(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    recover_folder(killed)
    assert [(record.name, record.levelname) for record in caplog.records] == [("multitune.core.files", "WARNING")]
    assert str(killed) in caplog.text


def test_nobody_who_set_no_handler_sees_anything(killed: Path) -> None:
    code = (
        "import multitune, sys; from pathlib import Path; from multitune.core.files import recover_folder; "
        "recover_folder(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, killed], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "") and killed.exists()


def test_verbose_logs_to_stderr_and_leaves_stdout_to_the_result(run_file: Path) -> None:
    quiet, loud = run("check", run_file, "--json"), run("--verbose", "check", run_file, "--json")
    reports = [json.loads(one.stdout) for one in (loud, quiet)]
    for report in reports:
        for part in ("estimate", "audit"):
            report[part].pop("seconds")  # by the machine's speed at that moment
    assert reports[0] == reports[1]
    assert "INFO multitune.data.cache: " not in quiet.stderr
    assert "INFO multitune.data.cache: " in loud.stderr and ".arrow is read again: " in loud.stderr


def test_the_package_has_one_handler_that_writes_nothing() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("multitune").handlers)
    assert logging.getLogger("multitune").level == logging.NOTSET
