"""Two small tasks and general data on the tiny base, and one finished run of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from multitune.cli.main import app


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture(scope="session")
def run_fields(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = tmp_path_factory.mktemp("data")
    colours = [{"text": f"w{i} w{(7 * i) % 40}", "label": ["red", "blue"][i % 2]} for i in range(40)]
    copies = [{"text": f"w{(3 * i) % 40} w{i}"} for i in range(40)]
    task = {"data": "", "prompt": "say {{ text }}", "answer": "{{ label }}", "kind": "classify"}
    copy = {**task, "name": "copy", "prompt": "copy {{ text }}", "answer": "{{ text }}", "kind": "generate"}
    general = {**copy, "name": "chat", "prompt": "general {{ text }}", "share": 0.2}
    return {
        "name": "tiny",
        "base": str(base_folder),
        "tasks": [
            {**task, "name": "colours", "data": write_rows(data / "colours.jsonl", colours)},
            {**copy, "data": write_rows(data / "copies.jsonl", copies)},
        ],
        "general": [{**general, "data": write_rows(data / "general.jsonl", copies)}],
        "lora": {"rank": 2, "alpha": 4},
        "train": {"epochs": 1, "batch_size": 16, "pack_tokens": 128, "max_length": 32},
        "evaluate": {"resamples": 100},
        "dtype": "float32",
        "device": "cpu",
    }


@pytest.fixture
def run_file(run_fields: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**run_fields, "output": str(tmp_path / "runs")}), "utf-8")
    return path


@pytest.fixture(scope="session")
def finished(run_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that `multitune train` finished; beside it stands what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({**run_fields, "output": str(folder / "runs")}), "utf-8")
    result = CliRunner().invoke(app, ["train", str(file)], catch_exceptions=False)
    (folder / "printed.txt").write_text(result.output, "utf-8")
    return folder / "runs" / "tiny"
