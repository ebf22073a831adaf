"""A base in 4 and 8 bits beside the same in bfloat16: losses and scores of a short run, memory, and time side by side.

`make bench PART=quantized`: SmolLM2-135M on the team example, one adapter, 30 steps of 8 rows. Linux, which tells the
memory. Runs lie in FOLDER (`runs/quantized` if absent); one that is finished there is not trained again.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.record import record
from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.events import read_events
from multitune.core.records import PackRow
from multitune.core.results.events import StepEvent, ValidationEvent
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from multitune.core.versions import installed
from multitune.deployment.export import export_adapter
from multitune.deployment.recorded_rows import recorded_rows
from multitune.deployment.verify import verify_target
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.pipeline import run_experiment
from multitune.planning import check_run
from multitune.training.job import train_run
from multitune.training.loss import pack_loss
from multitune.training.prepare import prepare_run

COMMAND = "make bench PART=quantized"
TEAM = Path(__file__).parent.parent / "examples" / "team" / "team.yaml"
KINDS = ("bfloat16", "nf4", "int8")
STEPS, MEMORY_STEPS, ROUNDS, ROWS = 30, 3, 3, 8
SETTINGS = ("seeds=1", "adapters=shared", "train.learning_rate=2e-3", "evaluate.limit=60", f"train.batch_size={ROWS}")


def main() -> None:
    """Measure, print and record."""
    memory = {kind: child("memory", kind) for kind in KINDS}
    speed = child("speed", "all")
    runs = {kind: _run(kind) for kind in KINDS}
    exports = {kind: _merged(kind) for kind in KINDS if kind != "bfloat16"}
    figures: dict[str, Any] = {"runs": runs, "memory": memory, "speed": speed, "merged_exports": exports}
    figures["bitsandbytes"] = installed("bitsandbytes")
    print(json.dumps(figures, indent=2))
    record("quantized", COMMAND, figures)


def configure(kind: str, steps: int = STEPS) -> RunConfig:
    """The run of one kind of base."""
    folder = Path(os.environ.get("FOLDER", "runs/quantized")).absolute()
    held = () if kind == "bfloat16" else (f"quantization={kind}",)
    return load_config(TEAM, (*SETTINGS, *held, f"train.max_steps={steps}", f"name={kind}", f"output={folder}"))


def child(what: str, kind: str) -> dict[str, Any]:
    """What a process of its own measures."""
    command = [sys.executable, "-m", "benchmarks.quantized", what, kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


def _run(kind: str) -> dict[str, Any]:
    """Loss along a run, and its scores on test rows."""
    config = configure(kind)
    folder = RunFolder(Path(config.output) / config.name)
    if not folder.scores.is_file():
        run_experiment(config, resume=folder.config.is_file())
    events = list(read_events(folder.events))
    steps = [event.adapters["shared"].loss for event in events if isinstance(event, StepEvent)]
    looks = {event.step: event for event in events if isinstance(event, ValidationEvent)}
    tasks = Scores.read(folder.scores).tasks
    return {
        "train_loss_of_five_steps": [round(sum(steps[at : at + 5]) / 5, 3) for at in range(0, len(steps), 5)],
        "validation_loss": {step: {t: round(o.loss, 3) for t, o in e.tasks.items()} for step, e in looks.items()},
        "test": {
            task: {
                who: {"macro_f1": round(s.score, 3), "loss": s.loss and round(s.loss, 3)}
                for who, s in t.scores.items()
            }
            for task, t in tasks.items()
        },
    }


def _merged(kind: str) -> dict[str, Any]:
    """Whether a merged export answers as the adapter does on the whole base, and how far that is from the record."""
    config = configure(kind)
    folder = RunFolder(Path(config.output) / config.name)
    with tempfile.TemporaryDirectory() as place:
        export_adapter(folder, "shared", Path(place) / "out", "merged")
        found = verify_target(folder, "shared", f"{place}/out", recorded_rows(folder, "shared", ROWS))
    return {
        "rows": found.rows,
        "same_answers_as_on_the_whole_base": sum(one.same for one in found.tasks),
        "nats_from_the_whole_base": max(one.mean_loss or 0.0 for one in found.tasks),
        "nats_from_the_record": found.quantization,
    }


def measure_memory(kind: str) -> dict[str, Any]:
    """Megabytes of this process while it loads the base and trains three steps, and what `check` estimates."""
    config = configure(kind, MEMORY_STEPS)
    estimated = check_run(config.model_copy(update={"audit": config.audit.model_copy(update={"mode": "off"})}))
    prepared, before = prepare_run(config), resident("VmRSS")
    started = time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    backbone = load_backbone(prepared.ref, "cpu", config.dtype, config.quantization)
    seconds, load_peak, untrimmed = time.perf_counter() - started, resident("VmHWM"), resident("VmRSS")
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # small weights that were freed otherwise stay with the process
    loaded = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    with tempfile.TemporaryDirectory() as place:
        train_run(prepared, RunFolder(Path(place) / "run"), backbone=backbone)
    peak, expected = resident("VmHWM"), estimated.estimate.memory_bytes / 2**20
    return {
        "before_loading": before,
        "loaded": loaded,
        "loaded_with_freed_memory_that_the_process_kept": untrimmed,
        "peak_of_loading_with_the_pages_of_the_file": load_peak,
        "seconds_to_load": round(seconds, 1),
        "peak_of_training": peak,
        "estimate": round(expected),
        "estimate_against_peak": round(expected / peak, 3),
    }


def resident(what: str) -> int:
    """Megabytes of this process."""
    return int(re.findall(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))[0]) // 1024


def measure_speed() -> dict[str, Any]:
    """Processor time of each kind against bfloat16, in turn on the same rows.

    Steps of training on 8 and 24 rows, and a forward pass over few tokens, as one of decoding is. Processor time, as
    others may use the machine.
    """
    prepared = prepare_run(configure("bfloat16"))
    tokens = [task.tokens["train"] for task in prepared.tasks.values()]
    rows = [PackRow(one[i], 0, number) for i in range(ROWS) for number, one in enumerate(tokens)]
    banks: dict[str, AdapterBank] = {}
    for kind in KINDS:
        held: Any = None if kind == "bfloat16" else kind
        banks[kind] = AdapterBank(load_backbone(prepared.ref, "cpu", "bfloat16", held))
        banks[kind].create("a", 16, 32.0, "all", 17)
        banks[kind].train("a")
    plain = banks["bfloat16"].backbone
    return {
        f"{what}_of_{sum(map(len, plain.pack(some, 2048)))}_tokens": _in_turn(banks, some, what == "step")
        for what, some in (("step", rows[:ROWS]), ("step", rows), ("forward", rows[:1]))
    }


def _in_turn(banks: dict[str, AdapterBank], rows: list[PackRow], trained: bool) -> dict[str, Any]:
    """Median over rounds, the first left out: seconds on bfloat16, and the others against it in the same round."""
    times: dict[str, list[float]] = {kind: [] for kind in banks}
    for _ in range(ROUNDS + 1):
        for kind, bank in banks.items():
            started = time.process_time()
            for pack in bank.backbone.pack(rows, 2048):
                if trained:
                    pack_loss(bank, pack).total.backward()
                else:
                    with torch.no_grad(), bank.route(((0, 0, 1),), 1):
                        bank.backbone.logits(pack)
            times[kind].append(time.process_time() - started)
    plain = times.pop("bfloat16")[1:]
    against = {
        kind: round(median(mine / its for mine, its in zip(values[1:], plain, strict=True)), 2)
        for kind, values in times.items()
    }
    return {"processor_seconds_on_bfloat16": round(median(plain), 3), **against}


if __name__ == "__main__":
    print(json.dumps(measure_memory(sys.argv[2]) if sys.argv[1] == "memory" else measure_speed()))
