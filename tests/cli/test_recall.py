"""A check is told again only under the circumstances it was made under."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multitune.cli import recall
from multitune.config.load import load_config


@pytest.fixture
def made() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def make(made: list[dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        made.append({"number": len(made)})
        return made[-1]

    return make


@pytest.fixture
def own_rows(run_fields: dict[str, Any], tmp_path: Path) -> Path:
    """A run file whose data nobody else reads."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "w1", "label": "red"}) + "\n", "utf-8")
    task = {**run_fields["tasks"][0], "data": str(rows)}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**run_fields, "tasks": [task], "general": []}), "utf-8")
    return tmp_path / "own.yaml"


def test_a_report_is_made_once_and_told_again(own_rows, make, made):
    config = load_config(own_rows)
    assert recall.recalled(config, make) == recall.recalled(config, make) == {"number": 0}
    assert len(made) == 1


def test_another_setting_makes_a_new_report(own_rows, make, made):
    recall.recalled(load_config(own_rows), make)
    recall.recalled(load_config(own_rows, ["train.batch_size=3"]), make)
    assert len(made) == 2


def test_a_changed_data_file_makes_a_new_report(own_rows, make, made):
    recall.recalled(load_config(own_rows), make)
    with (own_rows.parent / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "w2", "label": "blue"}) + "\n")
    recall.recalled(load_config(own_rows), make)
    assert len(made) == 2


def test_a_damaged_report_is_made_again(own_rows, make, made, tmp_path, monkeypatch):
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    recall.recalled(load_config(own_rows), make)
    (kept,) = (tmp_path / "cache" / "checks").iterdir()
    kept.write_text("{", "utf-8")
    assert recall.recalled(load_config(own_rows), make) == {"number": 1}


def test_nothing_is_kept_of_rows_from_the_hub(own_rows, make, made):
    config = load_config(own_rows, ['tasks.colours.data={"hub": "someone/rows"}'])
    recall.recalled(config, make)
    recall.recalled(config, make)
    assert len(made) == 2


def test_a_report_told_again_loads_no_torch_and_help_not_even_numpy(run_file: Path):
    command = [sys.executable, "-X", "importtime", "-m", "multitune.cli.main"]

    def loaded(*arguments: str) -> set[str]:
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, env=os.environ, check=True)
        return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}

    assert "torch" in loaded("check", str(run_file), "--json")
    assert not {"torch", "transformers", "datasets"} & loaded("check", str(run_file), "--json")
    assert not {"numpy", "pydantic", "yaml"} & loaded("--help")
