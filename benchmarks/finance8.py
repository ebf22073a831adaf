"""Eight finance tasks at once against each alone, and against the base: the run behind the table in the README."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.record import record
from multitune.cli.watch import Watch
from multitune.config.load import load_config
from multitune.core.files import read_json
from multitune.pipeline import run_experiment

CONFIG = Path(__file__).parent / "finance8.yaml"
COMMAND = "make bench PART=finance8 DATA=folder"

# Local copies of the sets, for machines without the hub: split -> file. What is not named is carved from train.
LOCAL: dict[str, dict[str, str]] = {
    "tfns": {"train": "tfns/train.jsonl", "test": "tfns/validation.jsonl"},
    "fpb": {"train": "fpb/train.jsonl", "validation": "fpb/validation.jsonl", "test": "fpb/test.jsonl"},
    "fiqa_sa": {
        "train": "fiqa_sa/flare_train.jsonl",
        "validation": "fiqa_sa/flare_valid.jsonl",
        "test": "fiqa_sa/flare_test.jsonl",
    },
    "headline": {"train": "headline/all.jsonl"},
    "fin3": {"train": "finner_fin3/train_FIN5.jsonl", "test": "finner_fin3/test_FIN3.jsonl"},
    "finqa": {"train": "finqa/valid.jsonl"},
    "convfinqa": {"train": "convfinqa/dev_turns.jsonl"},
    "tatqa": {"train": "tatqa/dev.jsonl", "test": "tatqa/test_gold.jsonl"},
    "dolly": {"train": "dolly_partial/train_short.jsonl"},
    "banking77": {"train": "banking77/train.jsonl", "test": "banking77/test.jsonl"},
    "support": {"train": "bitext_support/train.jsonl"},
    "gsm8k": {"train": "gsm8k/train.jsonl", "test": "gsm8k/test.jsonl"},
    "sst": {"train": "cs224n_dfp/sst_train.jsonl", "test": "cs224n_dfp/sst_dev.jsonl"},
    "qqp": {"train": "cs224n_dfp/quora_dev.jsonl"},
    "sts-b": {"train": "cs224n_dfp/sts_train.jsonl", "test": "cs224n_dfp/sts_dev.jsonl"},
    "pubmedqa": {"train": "pubmedqa/train_dev.jsonl", "test": "pubmedqa/test.jsonl"},
}
QUESTIONS = {
    "price_up": "Does the headline say that the price of gold went up?",
    "price_down": "Does the headline say that the price of gold went down?",
    "past_information": "Does the headline speak of the past?",
    "future_information": "Does the headline speak of the future?",
    "asset_comparison": "Does the headline compare gold with another asset?",
}


def _headline(row: Mapping[str, Any]) -> dict[str, Any]:
    """One of the questions per headline, in turn, as the hub's copy asks them."""
    column = list(QUESTIONS)[row["id"] % len(QUESTIONS)]
    return {"question": QUESTIONS[column], "text": row["news"], "answer": "Yes" if row[column] else "No"}


# Where a local copy lacks a column of the template: row -> row. `document` keeps the rows of one text together.
REWRITE: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "headline": _headline,
    "convfinqa": lambda row: {**row, "document": row["id"].split("#")[0]},
    "tatqa": lambda row: {**row, "document": row["doc"]},
}


def main() -> None:
    """Run, and record the transfer table."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"output={os.environ.get('RUNS', folder)}"]
        if data := os.environ.get("DATA"):
            overrides += local_sources(CONFIG, Path(data), Path(folder))
        started = time.monotonic()
        with Watch(Console()) as watch:
            run = run_experiment(load_config(CONFIG, overrides), observe=watch)
        minutes = (time.monotonic() - started) / 60
        record("finance8", COMMAND, {"minutes": round(minutes, 1), **read_json(run.folder.scores)})


def local_sources(config: Path, data: Path, folder: Path) -> list[str]:
    """`--set` overrides that read a run's sets from `data`, through copies in `folder` where rows are rewritten."""
    overrides: list[str] = []
    run = yaml.safe_load(config.read_text("utf-8"))
    names = [task.get("name", task.get("use")) for task in (*run["tasks"], *run.get("general", ()))]
    for name, files in ((name, LOCAL[name]) for name in names):
        sources = {split: data / file for split, file in files.items()}
        if name in REWRITE:
            sources = {split: rewritten(name, file, folder) for split, file in sources.items()}
        if name in ("convfinqa", "tatqa"):
            overrides.append(f"tasks.{name}.group=document")
        member = "general" if name == "dolly" else "tasks"
        overrides.append(f"{member}.{name}.data={json.dumps({split: str(file) for split, file in sources.items()})}")
    return overrides


def rewritten(name: str, file: Path, folder: Path) -> Path:
    """A copy of a JSONL file with every row rewritten."""
    target = folder / f"{name}-{file.name}"
    with file.open(encoding="utf-8") as rows, target.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(REWRITE[name](json.loads(line))) + "\n" for line in rows)
    return target


if __name__ == "__main__":
    main()
