"""Tokens per second of training with one and two threads, on a quiet machine and with a neighbour on each core.

`make bench PART=busy_machine` on a machine with nothing else to do: the neighbours are processes that count in a loop.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import record
from multitune.config.load import load_config
from multitune.core.events import read_events
from multitune.core.results.events import StepEvent
from multitune.core.run_folder import RunFolder
from multitune.training.job import train_run
from multitune.training.prepare import prepare_run

COMMAND = "make bench PART=busy_machine"
CONFIG = Path(__file__).parent.parent / "examples" / "team" / "team.yaml"
STEPS, WARM_UP = 8, 2
WAYS: dict[str, dict[str, str]] = {
    "all cores": {},
    "all cores, passive waiting": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
SETTINGS = ("seeds=1", "adapters=shared", f"train.max_steps={STEPS}", f"train.validate_every={10 * STEPS}")


def main() -> None:
    """Each way twice in turn on the quiet machine, and twice with neighbours."""
    figures: dict[str, Any] = {"quiet": measured()}
    cores = range(os.cpu_count() or 1)
    pinned = [["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"] for core in cores]
    neighbours = [subprocess.Popen(command) for command in pinned]
    try:
        figures["a neighbour on each core"] = measured()
    finally:
        for one in neighbours:
            one.kill()
    print(json.dumps(figures, indent=2))
    record("busy_machine", COMMAND, {"tokens_per_second": figures})


def measured() -> dict[str, list[float]]:
    """Tokens per second of each way."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(2):
        for way, environment in WAYS.items():
            found[way].append(speed(environment))
    return found


def speed(environment: dict[str, str]) -> float:
    """The same in a process of its own, which reads these variables when it starts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-m", "benchmarks.busy_machine", "measure"]
    done = subprocess.run(command, env={**kept, **environment}, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> None:
    """Print tokens per second of the steps behind the warm-up."""
    with tempfile.TemporaryDirectory() as output:
        run = prepare_run(load_config(CONFIG, [*SETTINGS, f"output={output}"]))
        folder = RunFolder(Path(output) / run.config.name)
        train_run(run, folder)
        steps = [event for event in read_events(folder.events) if isinstance(event, StepEvent)][WARM_UP:]
    print(json.dumps(round(sum(step.tokens for step in steps) / sum(step.seconds for step in steps), 1)))


if __name__ == "__main__":
    measure() if "measure" in sys.argv else main()
