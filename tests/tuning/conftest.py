"""What tests of tuning share: a run of two tiny tasks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multitune.config.load import parse_config
from multitune.config.schema import RunConfig

Configure = Callable[..., RunConfig]


@pytest.fixture
def configure(base_folder: Path, tmp_path: Path) -> Configure:
    """A run of two tasks whose mixture can be moved, to search its settings."""
    rng = np.random.default_rng(5)
    tasks: list[dict[str, Any]] = []
    for i, name in enumerate(("colours", "shapes")):
        for split, count in {"train": 24, "validation": 6, "test": 6}.items():
            words = rng.integers(0, 78, (count, 4))
            rows = [{"text": " ".join(f"w{w}" for w in row), "said": f"w{row[0] % 5}"} for row in words]
            (tmp_path / f"{name}.{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = {split: f"{name}.{split}.jsonl" for split in ("train", "validation", "test")}
        texts = {"prompt": f"w{i} {{{{ text }}}}", "answer": "{{ said }}"}
        tasks.append({"name": name, "kind": "generate", "data": data, **texts})

    def configured(**changes: Any) -> RunConfig:
        train = {"batch_size": 4, "epochs": 1, "pack_tokens": 128, "max_length": 64, **changes.pop("train", {})}
        raw = {"name": "small", "base": str(base_folder), "tasks": tasks, "train": train, "output": "runs"}
        return parse_config({**raw, "dtype": "float32", "device": "cpu", **changes}, tmp_path)

    return configured
