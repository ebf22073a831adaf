"""How much general data keeps what the base knew: the demo's tasks learnt with 0, 5, 10 and 20% of it, in one job.

`make bench PART=forgetting DATA=folder`, or without DATA where the hub can be reached. For any run of one's own the
same sweep is `multitune train FILE --set 'adapters=[{name: shared, general: [0, 0.05, 0.1, 0.2]}]'`.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.many_adapters import DEMO
from benchmarks.record import record
from multitune.cli.show import show_scores
from multitune.cli.watch import Watch
from multitune.config.load import load_config
from multitune.core.run_folder import RunFolder
from multitune.evaluation.scores import evaluate_run
from multitune.evaluation.subjects import open_subjects
from multitune.training.job import train_run
from multitune.training.prepare import prepare_run

COMMAND = "make bench PART=forgetting DATA=folder"
SHARES = (0.0, 0.05, 0.1, 0.2)
SETTINGS = (
    "name=forgetting",
    f"adapters=[{{name: shared, general: {list(SHARES)}}}]",
    "tasks.tweets.limit={train: 96, validation: 16, test: 100}",
    "tasks.entities.limit={train: 48, validation: 8, test: 24}",
    "tasks.reports.limit={train: 16, validation: 4, test: 16}",
    "tasks.intents.limit={train: 77, validation: 16, test: 60}",
    "general.dolly.limit={train: 400, validation: 16, test: 60}",
    "retention=[{use: mmlu, limit: 80}, {use: arithmetic, limit: 40}]",
    "train.epochs=2",
    "train.validate_limit=8",
    "train.validate_metric=false",
)


def main() -> None:
    """Train four adapters side by side, answer the tasks and the retention sets, and record share by share."""
    local = ()
    if "DATA" in os.environ:
        file = Path(os.environ["DATA"], "mmlu", "test.jsonl").absolute()
        local = (f"retention.mmlu.data={json.dumps(str(file))}",)
    with tempfile.TemporaryDirectory() as output:
        prepared = prepare_run(load_config(DEMO, (*SETTINGS, f"output={output}", *local)))
        folder = RunFolder(Path(output) / "forgetting")
        started = time.monotonic()
        with Watch(Console()) as watch:
            train_run(prepared, folder, observe=watch)
            trained = time.monotonic()
            scores = evaluate_run(folder, prepared, open_subjects(prepared, folder), watch)
        minutes = {"training": trained - started, "evaluation": time.monotonic() - trained}
        show_scores(scores, folder.path, Console(width=140))
        shares = {share: by_share(scores.plain(), f"shared.general-{100 * share:g}") for share in SHARES}
    figures = {
        "minutes": {name: round(seconds / 60, 1) for name, seconds in minutes.items()},
        "base": by_share(scores.plain(), "base"),
        "shares": {f"{share:g}": found for share, found in shares.items()},
    }
    print(json.dumps(figures, indent=2))
    record("forgetting", COMMAND, figures)


def by_share(scores: dict[str, Any], subject: str) -> dict[str, Any]:
    """What one adapter, or the base, learnt and kept."""
    tasks = {name: task["scores"][subject]["score"] for name, task in scores["tasks"].items()}
    return {
        "tasks": tasks,
        "mean": sum(tasks.values()) / len(tasks),
        "general_loss": {name: found["loss"][subject] for name, found in scores["general"].items()},
        "retention": {
            name: {"score": found["scores"][subject]["score"], "change": found["change"].get(subject)}
            for name, found in scores["retention"].items()
        },
    }


if __name__ == "__main__":
    main()
