"""A task with several labels per row, through the command line: checked, audited, trained, gated and asked."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.core.predictions import read_predictions
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from tests.cli.conftest import write_rows
from tests.serving.conftest import serving

LABELS = [["red", "blue"], ["red"], ["blue"], []]


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    rows = [{"text": f"w{i} w{(7 * i) % 40}", "tags": LABELS[i % 4]} for i in range(48)]
    task = {"name": "tags", "kind": "labels", "prompt": "say {{ text }}", "answer": "{{ tags | labels }}"}
    fields = {**run_fields, "tasks": [{**task, "data": write_rows(folder / "tags.jsonl", rows)}], "general": []}
    (folder / "run.yaml").write_text(yaml.safe_dump({**fields, "output": str(folder / "runs")}), "utf-8")
    assert invoke("train", folder / "run.yaml").exit_code == 0
    return folder


def test_check_and_audit_count_each_label(trained: Path) -> None:
    (data,) = json.loads(invoke("check", trained / "run.yaml", "--json").output)["data"]
    assert {one["label"]: sum(one["rows"].values()) for one in data["labels"]} == {"red": 24, "blue": 24, "none": 12}
    assert invoke("audit", trained / "run.yaml").exit_code == 0


def test_a_run_scores_sets_and_passes_its_own_gate(trained: Path) -> None:
    run = trained / "runs" / "tiny"
    found = Scores.read(RunFolder(run).scores).tasks["tags"]
    assert (found.kind, found.metric) == ("labels", "micro_f1")
    assert {"accuracy", "micro_f1", "macro_f1", "jaccard"} == set(found.scores["base"].extra)
    predictions = read_predictions(RunFolder(run).predictions("tags", "tags", "test"))
    assert {tuple(one.gold) for one in predictions} <= {("blue", "red"), ("red",), ("blue",), ()}
    assert invoke("gate", run, run).exit_code in (0, 3)  # the same answers: never worse
    assert invoke("compare-predictions", run, run).exit_code == 0
    assert "micro_f1" in invoke("report", run).output or (run / "report.html").is_file()


def test_a_server_answers_as_recorded_and_says_that_no_single_label_is_picked(trained: Path) -> None:
    with serving(trained / "runs" / "tiny") as url:
        ready = httpx.get(f"{url}/ready").json()
        body = {"model": "tags", "messages": [{"role": "user", "content": "say w1 w7"}]}
        answered = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        refused = httpx.post(f"{url}/v1/chat/completions", json={**body, "multitune": {"labels": True}}, timeout=60)
    assert ready["ready"] and any(row["task"] == "tags" and row["rows"] for row in ready["parity"])
    assert answered.status_code == 200
    assert refused.status_code == 400 and "any number of its labels" in refused.text
