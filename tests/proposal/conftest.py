"""Data files of every recognised shape, and a proposal made of some files."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.results.proposal import Proposal
from multitune.proposal.bases import GIB, Hardware
from multitune.proposal.columns import Columns, Question
from multitune.proposal.propose import propose

ROWS = 60
CPU = Hardware(accelerator=False, memory_bytes=16 * GIB)
Rows = Callable[[int], dict[str, Any]]


def write_file(path: Path, row: Rows, rows: int = ROWS) -> Path:
    made = [row(number) for number in range(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(made[0]))
            writer.writeheader()
            writer.writerows(made)
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in made), "utf-8")
    return path


def nobody(question: Question) -> None:
    return None


Propose = Callable[..., tuple[RunConfig, Proposal]]


@pytest.fixture
def proposed(tmp_path: Path, base_folder: Path) -> Propose:
    """Write a run file for some data files, and load it again."""

    def make(
        *paths: Path,
        answer: dict[str, str] | None = None,
        text: dict[str, str] | None = None,
        ask: Callable[[Question], str | None] = nobody,
        hardware: Hardware = CPU,
    ) -> tuple[RunConfig, Proposal]:
        output = tmp_path / "multitune.yaml"
        columns = Columns(text or {}, answer or {})
        again = output.exists()
        found = propose(paths, output, str(base_folder), lambda: hardware, columns=columns, ask=ask, overwrite=again)
        return load_config(output), found

    return make


def reasons(found: Proposal, field: str) -> Sequence[str]:
    return [f"{one.value}: {one.because}" for one in found.choices if one.field == field]
