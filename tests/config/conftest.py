"""Run files of one or two tasks, written and loaded, and a template library of two."""

from collections.abc import Callable
from pathlib import Path

import pytest

from multitune.config import shorthand
from multitune.config.load import load_config
from multitune.config.schema import RunConfig

TASK = '{{name: {0}, kind: classify, data: {0}.jsonl, prompt: "{{{{ text }}}}", answer: "{{{{ label }}}}"}}'
MATHS = """
title: Sums
home: https://example.org/sums
licence: MIT
citation: Somebody 2020
kind: number
data: {hub: example/sums, config: main, train: train, test: test}
prompt: "{{ question }}"
answer: "{{ result }}"
metric: numeric_match
"""


@pytest.fixture
def tasks() -> Callable[..., str]:
    """The `tasks` line of a run file, with a task of each name."""
    return lambda *names: f"tasks: [{', '.join(TASK.format(name) for name in names)}]\n"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., RunConfig]:
    """Write a text as run.yaml and load it, with overrides."""

    def write_and_load(text: str | bytes, *overrides: str) -> RunConfig:
        file = tmp_path / "run.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(file, overrides)

    return write_and_load


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library with the templates `maths` and `facts`."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "maths.yaml").write_text(MATHS, "utf-8")
    (folder / "facts.yaml").write_text(MATHS.replace("sums", "facts"), "utf-8")
    monkeypatch.setattr(shorthand, "LIBRARY", folder)
    return folder
