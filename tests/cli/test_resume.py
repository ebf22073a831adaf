"""A run that was killed behind its training ends with `--resume` as one that was not."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.config.load import load_config
from multitune.core.files import read_json
from multitune.core.results.events import EvaluatedEvent, Event
from multitune.pipeline import run_experiment

FEW = ["train.max_steps=2", "adapters=[shared]"]


def events_of(run: Path) -> list[dict[str, Any]]:
    lines = (run / "events.jsonl").read_text("utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in ("seconds", "seal")} for line in lines
    ]


def dies(event: Event) -> None:
    if isinstance(event, EvaluatedEvent) and event.adapter == "shared":
        raise RuntimeError("power cut")


def test_a_run_killed_in_its_evaluation_goes_straight_back_to_it(run_file: Path) -> None:
    straight = run_experiment(load_config(run_file, FEW)).folder.path
    config = load_config(run_file, [*FEW, "name=died"])
    with pytest.raises(RuntimeError, match="power cut"):
        run_experiment(config, observe=dies)
    died = run_file.parent / "runs" / "died"
    assert not (died / "checkpoint").exists() and not (died / "scores.json").exists()
    run_experiment(config, resume=True)
    assert events_of(died) == events_of(straight)
    scores = [read_json(folder / "scores.json") | {"training_seconds": 0.0} for folder in (died, straight)]
    assert scores[0] == scores[1]


def test_to_resume_a_finished_run_says_that_it_is_trained_and_scores_it_again(run_file: Path) -> None:
    options = [part for setting in FEW for part in ("--set", setting)]
    first, again = (
        CliRunner().invoke(app, ["train", str(run_file), *options, *more], catch_exceptions=False)
        for more in ([], ["--resume"])
    )
    assert "every adapter is trained already" not in first.output
    assert "every adapter is trained already" in again.output and "verdict" in again.output
    run = run_file.parent / "runs" / "tiny"
    assert [event["name"] for event in events_of(run) if event["kind"] == "phase"] == ["evaluate", "select"]
    assert [path.name for path in (run / "routing").iterdir()] == ["v0001"]
