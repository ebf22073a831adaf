"""`gate`: a new run passes where no task is worse beyond its margin, fails where one is, or the rows cannot tell."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.core.errors import InputError
from multitune.core.predictions import read_predictions
from multitune.core.run_folder import RunFolder
from multitune.reporting.gate import gate_runs

Runs = Callable[[int, int], tuple[Path, Path]]
ROWS = 200


def gate(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["gate", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Runs:
    """Two copies of a run that answered as many rows, so many of them rightly; `copy` is right everywhere."""

    def make(old: int, new: int) -> tuple[Path, Path]:
        for name, right in (("old", old), ("new", new)):
            shutil.copytree(finished, tmp_path / name)
            for file in (tmp_path / name / "predictions").rglob("*.jsonl"):
                first = json.loads(file.read_text("utf-8").splitlines()[0])
                wrong = "red" if first["gold"] == "blue" else "blue"
                lines: list[str] = []
                for i in range(ROWS):
                    value = first["gold"] if "copy" in str(file) or i < right else wrong
                    answer = {"output": str(value), "value": value, "score": float(value == first["gold"])}
                    lines.append(json.dumps({**first, **answer, "id": f"{i:04d}"}) + "\n")
                file.write_text("".join(lines), "utf-8")
        return tmp_path / "old", tmp_path / "new"

    return make


def test_a_run_is_no_worse_than_itself(finished: Path) -> None:
    code, printed = gate(finished, finished)
    assert code == 0 and "No task is worse beyond its margin." in printed


def test_a_clear_loss_fails_and_names_the_task(runs: Runs) -> None:
    code, printed = gate(*runs(180, 100))
    assert code == 1 and "Worse beyond the margin: colours." in printed


def test_a_gain_passes(runs: Runs) -> None:
    assert gate(*runs(100, 180))[0] == 0


def test_rows_that_cannot_tell_are_a_third_answer_and_a_wider_margin_may_pass(runs: Runs) -> None:
    old, new = runs(100, 90)
    assert gate(old, new)[0] == 3
    assert gate(old, new, "--margin", "colours=0.2")[0] == 0


def test_json_and_markdown_hold_what_is_printed(runs: Runs, tmp_path: Path) -> None:
    old, new = runs(180, 100)
    code, printed = gate(old, new, "--json", "--markdown", tmp_path / "pr.md")
    found = json.loads(printed)
    assert code == 1 and found["outcome"] == "worse"
    assert {one["task"]: one["outcome"] for one in found["tasks"]} == {"colours": "worse", "copy": "no worse"}
    comment = (tmp_path / "pr.md").read_text("utf-8")
    assert comment.startswith("**Worse beyond the margin: colours.**") and "| colours" in comment


def test_runs_on_other_rows_are_refused(runs: Runs) -> None:
    old, new = runs(100, 100)
    file = RunFolder(new).predictions(
        gate_runs(RunFolder(old), RunFolder(new)).tasks[0].new_adapter, "colours", "test"
    )
    file.write_text("".join(line + "\n" for line in file.read_text("utf-8").splitlines()[:-1]), "utf-8")
    assert len(read_predictions(file)) == ROWS - 1
    with pytest.raises(InputError, match="answered different rows"):
        gate_runs(RunFolder(old), RunFolder(new))


@pytest.mark.parametrize("margin", ["0", "-1", "much", "2"])
def test_a_margin_that_is_none_is_refused(finished: Path, margin: str) -> None:
    with pytest.raises(InputError, match="write a number above 0"):
        CliRunner().invoke(app, ["gate", str(finished), str(finished), f"--margin={margin}"], catch_exceptions=False)


def test_a_margin_of_an_unknown_task_is_refused(finished: Path) -> None:
    with pytest.raises(InputError, match="not a task of these runs"):
        gate_runs(RunFolder(finished), RunFolder(finished), {"colors": 0.1})
