"""Eight single-task adapters and a shared one in one job, against nine jobs one after another: time and memory.

`make bench PART=many_adapters`: the demo's tasks twice over, start-up and evaluation included.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.record import record

DEMO = Path(__file__).parent.parent / "examples" / "finance" / "demo.yaml"
COMMAND = "make bench PART=many_adapters"
ROWS = {"train": 64, "validation": 16, "test": 24}


def main() -> None:
    """Run the ten jobs, compare, record."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = [task["name"] for task in config(folder)["tasks"]]
        together = job(folder, "together", ["shared", "per_task"])
        apart = [job(folder, name, [{"name": name, "tasks": [name]}]) for name in tasks]
        apart.append(job(folder, "shared", "shared"))
    seconds = sum(one["seconds"] for one in apart)
    memory = max(one["peak_memory_gb"] for one in apart)
    figures = {
        "together": together,
        "apart": apart,
        "ratios": {
            "time": round(together["seconds"] / seconds, 3),
            "memory": round(together["peak_memory_gb"] / memory, 2),
        },
    }
    record("many_adapters", COMMAND, figures)
    print(json.dumps(figures["ratios"]))


def config(folder: str) -> dict[str, Any]:
    """The demo's four tasks, each twice, small; no general data, so that every job draws what it would draw alone."""
    demo = yaml.safe_load(DEMO.read_text("utf-8"))
    for task in demo["tasks"]:
        task["data"] = str(DEMO.parent / task["data"])
        task["limit"] = ROWS
    demo["tasks"] += [{**task, "name": f"{task['name']}_again"} for task in demo["tasks"]]
    train = {**demo["train"], "epochs": 1, "batch_size": 16, "validate_limit": 8, "validate_metric": False}
    evaluate = {**demo.get("evaluate", {}), "select_limit": 8}
    return {**demo, "general": [], "output": folder, "train": train, "evaluate": evaluate}


def job(folder: str, name: str, adapters: Any) -> dict[str, float]:
    """Seconds and peak memory of one `multitune train`, in a process of its own."""
    fields = config(folder)
    if isinstance(adapters, list) and isinstance(adapters[0], dict):
        fields["tasks"] = [task for task in fields["tasks"] if task["name"] == adapters[0]["name"]]
    file = Path(folder, f"{name}.yaml")
    file.write_text(yaml.safe_dump({**fields, "name": name, "adapters": adapters}), "utf-8")
    started = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.many_adapters", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    figures = json.loads(result.stdout.splitlines()[-1])
    return {"seconds": round(time.monotonic() - started, 1), **figures}


def train(file: Path) -> None:
    """Train and evaluate as the command line does; print the peak memory."""
    from multitune.config.load import load_config
    from multitune.pipeline import run_experiment

    run_experiment(load_config(file))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"peak_memory_gb": round(peak, 2)}))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
