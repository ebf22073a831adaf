"""Shots, stop strings and prompt variants of a task mean the same in training, evaluation, serving and exports."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

import multitune
from multitune.cli.main import app
from multitune.core.predictions import read_predictions
from multitune.core.results.run import DataRecord
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from tests.serving.conftest import serving

STOP = " w"  # before every second word of most answers
COPIED = [f"copy w{i} w{i + 1}" for i in range(8)]


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classify task has shots and variants, and whose generate task a stop string."""
    folder = tmp_path_factory.mktemp("settings")
    colours, copy = run_fields["tasks"]
    colours = {**colours, "shots": 2, "prompt_variants": ["general {{ text }}"], "learning_rate_factor": 0.5}
    copy = {**copy, "stop": [STOP], "max_new_tokens": 12}
    fields = {**run_fields, "tasks": [colours, copy], "train": {**run_fields["train"], "max_length": 64}}
    (folder / "run.yaml").write_text(yaml.safe_dump({**fields, "output": str(folder / "runs")}), "utf-8")
    assert invoke("train", folder / "run.yaml").exit_code == 0
    return folder / "runs" / "tiny"


def shots_of(run: Path) -> list[dict[str, str]]:
    shots = DataRecord.read(RunFolder(run).data).sets["colours"].shots
    return [
        turn
        for shot in shots
        for turn in ({"role": "user", "content": shot.prompt}, {"role": "assistant", "content": shot.answer})
    ]


def test_check_shows_shots_prompts_and_the_rate_of_an_adapter(trained: Path) -> None:
    shown = " ".join(invoke("check", trained / "config.yaml").output.split())
    assert "2 shots, drawn from train" in shown
    assert "training rows asked" in shown and "'general {{ text }}'" in shown
    assert "learning rate 0.0001 for colours" in shown
    assert invoke("audit", trained / "config.yaml").exit_code == 0


def test_rows_and_texts_are_answered_as_they_were_evaluated(trained: Path) -> None:
    run = multitune.open_run(trained)
    for task, adapter in (("colours", "colours"), ("copy", "copy"), ("copy", "base")):
        asked = [json.loads(line) for line in RunFolder(trained).prompts(task, "test").read_text().splitlines()]
        recorded = {
            one.id: one.output for one in read_predictions(RunFolder(trained).predictions(adapter, task, "test"))
        }
        rows = [{"text": row["prompt"].partition(" ")[2]} for row in asked]
        answers = [answer.text for answer in run.predict(task, rows, adapter)]
        assert answers == [recorded[row["id"]] for row in asked]
        assert all(STOP not in answer for answer in answers)
    texts = [answer.text for answer in run.generate_all([row["prompt"] for row in asked], "copy", 12)]
    copied = {one.id: one.output for one in read_predictions(RunFolder(trained).predictions("copy", "copy", "test"))}
    assert texts == [copied[row["id"]] for row in asked]


def test_a_run_is_scored_again_with_the_same_shots(trained: Path) -> None:
    before = Scores.read(RunFolder(trained).scores).tasks
    assert invoke("eval", trained).exit_code == 0
    assert Scores.read(RunFolder(trained).scores).tasks == before


def test_an_export_answers_as_recorded_and_its_card_shows_the_shots(trained: Path, tmp_path: Path) -> None:
    exported = invoke("export", trained, "--adapter", "shared", "--to", tmp_path / "out")
    assert exported.exit_code == 0, exported.output
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert all(turn["content"] in card for turn in shots_of(trained))
    assert "Behind 2 worked examples" in card and "give that as `stop`" in card


def test_a_server_puts_the_shots_in_front_once_and_ends_at_the_stop_string(trained: Path) -> None:
    question = [{"role": "user", "content": "say w3 w21"}]

    def ask(url: str, model: str, messages: Any, **more: Any) -> Any:
        body = {"model": model, "messages": messages, "temperature": 0, **more}
        return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()

    with serving(trained) as url:
        ready = httpx.get(f"{url}/ready").json()
        bare = ask(url, "colours", question, max_tokens=1)
        sent = ask(url, "colours", [*shots_of(trained), *question], max_tokens=1)
        shared = ask(url, "shared", question, max_tokens=1)
        copies = [
            ask(url, "adapter:copy", [{"role": "user", "content": text}], max_tokens=12)["choices"][0]
            for text in COPIED
        ]
    assert ready["ready"] and all(not row["fault"] for row in ready["parity"])
    assert bare["usage"]["prompt_tokens"] == sent["usage"]["prompt_tokens"] > shared["usage"]["prompt_tokens"]
    assert bare["choices"][0]["message"] == sent["choices"][0]["message"]
    answers = multitune.open_run(trained).generate_all(COPIED, "copy", 12)
    assert [one["message"]["content"].strip() for one in copies] == [answer.text for answer in answers]
    assert all(STOP not in answer.text for answer in answers)
    assert [one["finish_reason"] for one in copies].count("stop") > len(copies) / 2
