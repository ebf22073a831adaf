"""Rows in the forms that other tools document, and a config of theirs made into a run file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.conversion.convert import import_config

ROWS = 60
Import = Callable[[str, str], tuple[RunConfig, list[str]]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Callable[[int], dict[str, Any]]], Path]:
    """Write a file of sixty rows: `.json` as a list, else a row a line."""

    def rows(name: str, row: Callable[[int], dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made = [row(number) for number in range(ROWS)]
        path.write_text(json.dumps(made) if path.suffix == ".json" else "\n".join(map(json.dumps, made)), "utf-8")
        return path

    return rows


@pytest.fixture
def imported(tmp_path: Path, base_folder: Path) -> Import:
    """Write a config with BASE in it, import it, and load what was written; the notes come with it."""

    def convert(name: str, text: str) -> tuple[RunConfig, list[str]]:
        source, output = tmp_path / name, tmp_path / "multitune.yaml"
        source.write_text(text.replace("BASE", str(base_folder)), "utf-8")
        found = import_config(source, output, overwrite=True)
        return load_config(output), list(found.notes)

    return convert
