"""What tests of training share: a small run of two tasks on the tiny base."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multitune.config.load import parse_config
from multitune.config.schema import RunConfig

Configure = Callable[..., RunConfig]
TASKS = ("colours", "shapes")


@pytest.fixture
def configure(base_folder: Path, tmp_path: Path) -> Configure:
    """A run of two tasks whose answer is a word of the prompt."""
    rng = np.random.default_rng(5)
    for task in TASKS:
        for split, count in {"train": 40, "validation": 8, "test": 8}.items():
            words = rng.integers(0, 78, (count, 4))
            rows = [{"text": " ".join(f"w{w}" for w in row), "said": f"w{row[0] % 5}"} for row in words]
            (tmp_path / f"{task}.{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def configured(**changes: Any) -> RunConfig:
        train = {"batch_size": 4, "max_steps": 6, "validate_every": 2, "pack_tokens": 128, "max_length": 64}
        train |= {"learning_rate": 0.01, "validate_limit": 4, "validate_metric": False} | changes.pop("train", {})
        tasks = [
            {
                "name": task,
                "kind": "generate",
                "prompt": f"w{i} {{{{ text }}}}",
                "answer": "{{ said }}",
                "data": {split: f"{task}.{split}.jsonl" for split in ("train", "validation", "test")},
            }
            for i, task in enumerate(TASKS)
        ]
        raw = {"base": str(base_folder), "tasks": tasks, "train": train, "lora": {"rank": 4, "alpha": 8}}
        raw["adapters"] = ["shared", "per_task"]
        return parse_config(raw | {"dtype": "float32", "device": "cpu"} | changes, tmp_path)

    return configured
