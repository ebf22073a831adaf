"""Rows a second and memory of the audit's checks of duplicates and leaks, at 10,000, 100,000 and a million rows.

ROWS names the sizes, such as ROWS=10000,100000; each runs in a process of its own, as memory is a process's most.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.record import record
from multitune.audit import contradictions, duplicates, leaks
from multitune.audit.checks import Audited, AuditSet, Mixture
from multitune.config.schema import TaskConfig
from multitune.core.records import Example, Split
from multitune.tasks.task import Task

COMMAND = "make bench PART=audit_speed"
SIZES = (10_000, 100_000, 1_000_000)
WORDS, VOCABULARY = 20, 20_000  # of a row; drawn by Zipf's law
COPIES = 0.02  # of the rows are near copies of others: one word is another
CHECKS = (*duplicates.CHECKS, *leaks.CHECKS, *contradictions.CHECKS)


def made(rows: int) -> AuditSet:
    """Short rows of made words; a tenth are held out."""
    random = np.random.default_rng(17)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = ["".join(random.choice(letters, size)) for size in random.integers(2, 11, VOCABULARY).tolist()]
    fields = {"name": "made", "kind": "classify", "prompt": "{{ a }}", "answer": "{{ b }}", "data": {"train": "x"}}
    task = Task(TaskConfig.model_validate(fields))
    task.fit_labels(["yes", "no"])

    def examples(number: int) -> Iterator[Example]:
        words: list[str] = []
        for at in range(number):
            if words and random.random() < COPIES:
                words = [*words]
                words[int(random.integers(WORDS))] = "changed"
            else:
                drawn = random.zipf(1.3, WORDS) % VOCABULARY
                words = [vocabulary[word] for word in drawn.tolist()]
            label = "yes" if at % 2 else "no"
            yield Example("made", f"r{at}", f"Which is it?\n\n{' '.join(words)}", label, label)

    splits: dict[Split, list[Example]] = {"train": list(examples(rows * 9 // 10)), "test": list(examples(rows // 10))}
    return AuditSet(task, "task", splits)


def measure(rows: int) -> dict[str, object]:
    """All checks once over so many rows that lie in memory."""
    one = made(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    seconds: dict[str, float] = {}
    cpu = time.process_time()
    for check in CHECKS:
        began = time.monotonic()
        values = {name: threshold.value for name, threshold in check.thresholds.items()}
        list(check.find(Audited([one], Mixture([{"made": 1.0}]), 17, values)))
        seconds[check.name] = round(time.monotonic() - began, 2)
    total, used = sum(seconds.values()), time.process_time() - cpu
    return {
        "rows": rows,
        "seconds": seconds,
        "cpu_seconds": round(used, 2),
        "rows_per_second": round(rows / total),
        "rows_per_cpu_second": round(rows / used),  # what a free processor would do, where others are at work
        "rows_per_second_near": round(rows / seconds[duplicates.NEAR]),
        "rows_gb": round(before, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2),
    }


def main() -> None:
    """Each size in its own process."""
    if len(sys.argv) > 2:
        print(json.dumps(measure(int(sys.argv[2]))))
        return
    sizes = [int(size) for size in os.environ["ROWS"].split(",")] if os.environ.get("ROWS") else SIZES
    found: list[dict[str, object]] = []
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.run", "audit_speed", str(size)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(output.splitlines()[-1]))
        print(found[-1], flush=True)
    load = os.getloadavg()[0]
    record("audit_speed", COMMAND, {"processors": os.cpu_count(), "load_of_machine": round(load, 1), "sizes": found})


if __name__ == "__main__":
    main()
