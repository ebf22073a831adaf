"""Tasks that join a run of two, one after another: what the older ones keep, and whether joining grows dearer.

`make bench PART=sequence DATA=folder`: the tasks of mixture10.yaml, few rows each.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.finance8 import local_sources
from benchmarks.record import record
from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.deployment.extend import add_task
from multitune.pipeline import run_experiment

CONFIG = Path(__file__).parent / "mixture10.yaml"
COMMAND = "make bench PART=sequence DATA=folder"
FIRST = ("tfns", "banking77")
SMALL = ("train.epochs=1", "train.validate_limit=16", "evaluate.limit=16", "evaluate.resamples=200")


def main() -> None:
    """Train two, add the others, record what each did."""
    with tempfile.TemporaryDirectory() as folder:
        sources = local_sources(CONFIG, Path(os.environ["DATA"]), Path(folder)) if "DATA" in os.environ else []
        every = load_config(CONFIG, [f"output={folder}", *sources, *SMALL])
        started = time.monotonic()
        run = run_experiment(only(every, FIRST, adapters="shared"))
        seconds = {"+".join(FIRST): round(time.monotonic() - started, 1)}
        steps: list[dict[str, Any]] = []
        for name in (task.name for task in every.tasks if task.name not in FIRST):
            started = time.monotonic()
            steps.append(add_task(run.folder, only(every, (name,))).plain())
            seconds[name] = round(time.monotonic() - started, 1)
    figures = {"seconds": seconds, **summary(steps), "steps": steps}
    print(json.dumps({key: value for key, value in figures.items() if key != "steps"}, indent=2))
    record("sequence", COMMAND, figures)


def only(every: RunConfig, names: tuple[str, ...], **changes: Any) -> RunConfig:
    """The run of some tasks, with at most 48 training rows each and no general data."""
    tasks = [
        task.model_copy(update={"limit": task.limit.model_copy(update={"train": 48, "validation": 16, "test": 16})})
        for task in every.tasks
        if task.name in names
    ]
    return every.model_copy(update={"tasks": tuple(tasks), "general": (), **changes})


def summary(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Backward transfer under the router, routing accuracy after each, and whether anything older changed."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for step in steps:
        for task, scores in step["scores"].items():
            first.setdefault(task, scores["before"])
            last[task] = scores["after"]
    return {
        "backward_transfer_points": round(100 * backward_transfer(first, last), 2),
        "accuracy_after_each": {step["added"]: step["accuracy"] for step in steps},
        "rerouted_by_each": {step["added"]: max(step["routes_changed"].values()) for step in steps},
        "older_files_changed": sum(len(step["files_changed"]) for step in steps),
        "older_logits_changed": sum(len(step["logits_changed"]) for step in steps),
    }


def backward_transfer(first: Mapping[str, float], last: Mapping[str, float]) -> float:
    """Mean over tasks of the score at the end of a sequence minus the score when the task had just been learned.

    Source: Lopez-Paz & Ranzato 2017, arXiv:1706.08840.
    """
    assert first and first.keys() == last.keys(), "every task has a score at both ends"
    return sum(last[task] - first[task] for task in first) / len(first)


if __name__ == "__main__":
    main()
