"""What it brings to fill packs up so that shapes repeat: rows per second and peak memory, each in its own process."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.record import record

CONFIG = Path(__file__).parent.parent / "examples" / "finance" / "demo.yaml"
COMMAND = "make bench PART=repeating_shapes"
STEPS = 6


def main() -> None:
    """Compare multiples of 1 (no filling) and of 128, twice each in turn."""
    runs = {"1": [one("1"), one("1")], "128": [one("128"), one("128")]}
    best = {align: max(r["rows_per_second"] for r in results) for align, results in runs.items()}
    memory = {align: min(r["peak_memory_gb"] for r in results) for align, results in runs.items()}
    ratios = {"speed": round(best["128"] / best["1"], 2), "memory": round(memory["128"] / memory["1"], 2)}
    record("repeating_shapes", COMMAND, {"runs": runs, "ratios": ratios})
    print(json.dumps(ratios))


def one(align: str) -> dict[str, float]:
    """Figures of one process."""
    command = [sys.executable, "-m", "benchmarks.repeating_shapes", align]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def measure(align: int) -> None:
    """Forward and backward passes over the demo's first steps; the first is a warm-up and is not timed."""
    from multitune.config.load import load_config
    from multitune.core.records import PackRow
    from multitune.mixture.packing import pack_rows
    from multitune.model.backbone import load_backbone
    from multitune.model.bank import AdapterBank
    from multitune.training.loss import pack_loss
    from multitune.training.prepare import prepare_run

    run = prepare_run(load_config(CONFIG, ["train.batch_size=16"]))
    bank = AdapterBank(load_backbone(run.ref))
    for plan in run.plans:
        bank.create(plan.spec.name, plan.spec.rank, plan.spec.alpha, "all", plan.spec.seed)
        bank.train(plan.spec.name)
    rows_done, started = 0, 0.0
    for step in range(STEPS):
        if step == 1:
            rows_done, started = 0, time.monotonic()
        rows = [
            PackRow(run.tasks[draw.task].tokens["train"][draw.index], number, 0, 1e-3)
            for number, plan in enumerate(run.plans)
            for draw in plan.stream.draw(step)
        ]
        for pack in pack_rows(rows, run.config.train.pack_tokens, align=align):
            pack_loss(bank, pack).total.backward()
        rows_done += len(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    speed = rows_done / (time.monotonic() - started)
    print(json.dumps({"rows_per_second": round(speed, 2), "peak_memory_gb": round(peak, 2)}))


if __name__ == "__main__":
    measure(int(sys.argv[1]))
