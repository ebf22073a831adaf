"""What it costs that a task joins a run of 2, 8 and 32 tasks: one task's training, however many there are?

`make bench PART=adding`: each task is two of the demo's intents to tell apart, so that 33 real tasks can be made.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.many_adapters import DEMO
from benchmarks.record import record
from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.deployment.extend import add_task
from multitune.pipeline import run_experiment

COMMAND = "make bench PART=adding"
SIZES = (2, 8, 32)
OLDER = {"train": 4, "validation": 4, "test": 2}
NEWCOMER = {"train": 16, "validation": 4, "test": 2}


def main() -> None:
    """Train runs of each size, let one more task join each, and record how long that took."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            run = run_experiment(run_of(Path(folder), f"of-{size}", range(size), OLDER))
            newcomer = run_of(Path(folder), f"newcomer-{size}", range(max(SIZES), max(SIZES) + 1), NEWCOMER)
            started = time.monotonic()
            change = add_task(run.folder, newcomer)
            found[str(size)] = {
                "seconds": round(time.monotonic() - started, 1),
                "older_files_changed": len(change.files_changed),
                "older_logits_changed": len(change.logits_changed),
                "most_rerouted": max(change.routes_changed.values()),
            }
            print(size, found[str(size)])
    record("adding", COMMAND, found)


def run_of(folder: Path, name: str, numbers: range, limit: dict[str, int]) -> RunConfig:
    """The run file of some of the tasks."""
    rows = [json.loads(line) for line in (DEMO.parent / "data" / "intents" / "train.jsonl").open(encoding="utf-8")]
    intents = sorted({row["category"] for row in rows})
    tasks: list[dict[str, Any]] = []
    for number in numbers:
        pair = intents[2 * number : 2 * number + 2]
        data = folder / f"pair-{number}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows if row["category"] in pair), "utf-8")
        answer = "{{ category | replace('_', ' ') }}"
        prompt = f"Is this message about {pair[0]} or {pair[1]}?\n\nMessage: {{{{ text }}}}"
        shape = {"kind": "classify", "prompt": prompt, "answer": answer, "metric": "accuracy"}
        tasks.append({"name": f"pair-{number}", "data": str(data), "limit": limit, **shape})
    file = folder / f"{name}.yaml"
    train = {"epochs": 1, "batch_size": 8, "validate_limit": 4, "validate_metric": False}
    shape = {"adapters": "shared", "evaluate": {"resamples": 100}}
    file.write_text(
        yaml.safe_dump({"name": name, "base": "smollm2-135m", "tasks": tasks, "train": train, **shape}), "utf-8"
    )
    return load_config(file, [f"output={folder}"])


if __name__ == "__main__":
    main()
