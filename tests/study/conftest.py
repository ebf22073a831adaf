"""What tests of studies share: a run of three tiny tasks, two of them the same in other words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from multitune.config.schema import RunConfig
from multitune.config.study import StudyConfig, load_study

TASKS = ("first", "also_first", "last")
Study = Callable[..., tuple[StudyConfig, RunConfig]]


@pytest.fixture
def study_folder(base_folder: Path, tmp_path: Path) -> Path:
    """A folder with run.yaml and its data: name the colour of the first word, the same again, and of the last."""
    rng = np.random.default_rng(11)
    for task in TASKS:
        for split, count in {"train": 24, "validation": 10, "test": 12}.items():
            words = rng.integers(0, 78, (count, 4))
            place = -1 if task == "last" else 0
            rows = [
                {"text": " ".join(f"w{w}" for w in row), "said": ("red", "blue")[int(row[place]) % 2]} for row in words
            ]
            (tmp_path / f"{task}.{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [
        {
            "name": task,
            "kind": "classify",
            "labels": ["red", "blue"],
            "metric": "accuracy",
            "prompt": "say {{ text }}" if task == "last" else "copy {{ text }}",
            "answer": "{{ said }}",
            "data": {split: f"{task}.{split}.jsonl" for split in ("train", "validation", "test")},
        }
        for task in TASKS
    ]
    train = {"batch_size": 4, "epochs": 1, "pack_tokens": 128, "max_length": 64, "learning_rate": 0.01}
    run = {"base": str(base_folder), "dtype": "float32", "device": "cpu", "tasks": tasks, "train": train}
    run |= {"lora": {"rank": 4, "alpha": 8}, "evaluate": {"resamples": 100}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), "utf-8")
    return tmp_path


@pytest.fixture
def study(study_folder: Path) -> Study:
    """A study of that run, with changes to its fields."""

    def made(**changes: Any) -> tuple[StudyConfig, RunConfig]:
        fields = {"run": "run.yaml", "alone": ["equal_passes"], "output": "studies"} | changes
        (study_folder / "study.yaml").write_text(yaml.safe_dump(fields), "utf-8")
        return load_study(study_folder / "study.yaml")

    return made
