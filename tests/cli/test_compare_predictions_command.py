"""`compare-predictions` sets a run beside the answers of another trainer, and says what it cannot compare."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.core.errors import InputError
from multitune.run import open_run


@pytest.fixture
def theirs(finished: Path, tmp_path: Path) -> Path:
    """A folder of another trainer's answers to the rows of both tasks: always right, and without gold answers."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for task in ("colours", "copy"):
        file = next((finished / "predictions" / "shared").glob(f"{task}.*.jsonl"))
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        lines = [json.dumps({"id": row["id"], "output": row["gold"]}) for row in rows]
        (folder / f"{task}.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def test_a_run_is_compared_with_files_by_its_own_metrics(finished: Path, theirs: Path) -> None:
    done = CliRunner().invoke(
        app, ["compare-predictions", str(finished), str(theirs), "--json"], catch_exceptions=False
    )
    found = json.loads(done.stdout)["tasks"]
    assert {task: one["metric"] for task, one in found.items()} == {"colours": "macro_f1", "copy": "rouge_l"}
    assert [one["runs"][1]["score"] for one in found.values()] == [1.0, 1.0]
    scores = open_run(finished).scores.tasks
    for task, one in found.items():
        ours = one["runs"][0]
        assert ours["score"] == pytest.approx(scores[task].scores[ours["adapter"]].score)


def test_the_table_names_task_metric_and_verdict(finished: Path, theirs: Path) -> None:
    done = CliRunner().invoke(app, ["compare-predictions", str(theirs), str(finished), "--task", "copy"])
    assert done.exit_code == 0
    assert "rouge_l" in done.output and "worse" in done.output and "colours" in done.output.splitlines()[-1]


@pytest.mark.parametrize("metric", ["tweets=", ""])
def test_a_metric_without_a_name_is_refused(theirs: Path, metric: str) -> None:
    done = CliRunner().invoke(app, ["compare-predictions", str(theirs), str(theirs), "--metric", metric])
    assert isinstance(done.exception, InputError) and "write a metric, or TASK and a metric" in str(done.exception)
