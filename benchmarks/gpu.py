"""What to measure once there is a GPU: laws, training against TRL and PEFT, memory against the estimate, answers.

`make bench-gpu`: installs nothing, needs no network, and ends within nine minutes, as each part has a time limit. It
writes benchmarks/results/gpu.json. Without CUDA it runs the same parts on the CPU in tiny shapes, says so, and writes
build/bench-gpu.json, whose figures mean nothing but that the command works.
"""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_laws import LAWS, TOLERANCE, hold_in_nf4, random_bank, random_llama, random_rows
from benchmarks.record import record
from benchmarks.speed.trainers import padded_loss
from multitune.model.bank import AdapterBank
from multitune.model.demand import Demand, PackSize
from multitune.model.memory import memory_parts
from multitune.model.shape import shape_of
from multitune.training.loss import backward

COMMAND = "make bench-gpu"
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
# Seconds that each part may take: 520 in all.
PARTS = {"laws": 60, "multitune": 60, "trl-chunked": 80, "peft": 60, "bfloat16": 110, "nf4": 110, "answers": 40}
LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}
SIZES, ROWS, WORDS, STEPS = (LLAMA_8B, 32, 256, 4) if CUDA else (TINY, 4, 16, 2)
ADAPTERS, RANK = 2, 16


def main() -> None:
    """Run every part in a process of its own, print and record."""
    if not CUDA:
        print("No CUDA here: the CPU part runs, in tiny shapes. Its figures say nothing of a GPU.")
    names = os.environ.get("PARTS", ",".join(PARTS)).split(",")
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name() if CUDA else "cpu, tiny shapes"}
    figures |= {name: part(name, PARTS[name]) for name in names}
    ours, theirs = (figures.get(name, {}).get("rows_per_second") for name in ("multitune", "trl-chunked"))
    if ours and theirs:
        figures["times_trl_on_smollm2_135m"] = round(ours / theirs, 1)
    print(json.dumps(figures, indent=2))
    if CUDA and set(names) == set(PARTS):
        record("gpu", COMMAND, figures)
    else:
        file = Path("build", "bench-gpu.json")
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(figures, indent=2), "utf-8")
        print(f"written to {file}")


def part(name: str, seconds: int) -> dict[str, Any]:
    """What one part finds, or why it found nothing."""
    package = name.partition("-")[0]
    if package in ("trl", "peft") and find_spec(package) is None:
        return {"left_out": f"{package} is not installed"}
    print(f"{name} …", flush=True)
    command = [sys.executable, "-m", "benchmarks.gpu", name]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **({} if CUDA else {"BATCH": "2", "PEER_BATCH": "2"})}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done within {seconds} s"}
    if done.returncode:
        return {"failed": done.stderr.strip()[-300:]}
    return json.loads(done.stdout.splitlines()[-1])


def laws() -> dict[str, Any]:
    """How far apart the two sides of each law are, and whether that is within its tolerance."""
    found = {name: law(DEVICE) for name, law in LAWS.items()}
    return {name: {"apart": value, "holds": value <= TOLERANCE} for name, value in found.items()}


def trainer(setup: str) -> dict[str, Any]:
    """Rows per second of one trainer with SmolLM2-135M on the team example, the first step left out."""
    from benchmarks.speed.trainers import SETUPS
    from benchmarks.speed.training import summary

    train, options = SETUPS[setup]
    line = train("team", 5 if CUDA else 2, **options)
    line.peak_memory_gb = torch.cuda.max_memory_allocated() / 2**30 if CUDA else 0.0
    return summary(vars(line))


def large(kind: str) -> dict[str, Any]:
    """Steps of two adapters on random weights in the shape of an 8B Llama, and of PEFT's on the same in bfloat16."""
    backbone = random_llama(DEVICE, torch.bfloat16, **SIZES)
    shape = shape_of(backbone.model, "all")
    if kind == "nf4":
        hold_in_nf4(backbone)
    rows = random_rows(ROWS, ADAPTERS, WORDS, SIZES["vocab_size"])
    bank = random_bank(backbone, ADAPTERS, RANK)
    if CUDA:  # what loading took is over
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    found = {"multitune": timed(lambda: step(bank, rows), len(rows))}
    packs = backbone.pack(rows, 2048)
    demand = Demand((RANK,) * ADAPTERS, PackSize.of(packs), "nf4" if kind == "nf4" else None)
    parts = memory_parts(shape, demand, torch.device("cuda"), torch.bfloat16)
    # The step above has no optimizer: its two moments are not there.
    found["memory"] = {"estimated_gb": round((parts.total - parts.optimizer) / 2**30, 3)}
    if CUDA:
        found["memory"]["measured_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    if kind == "bfloat16":
        bank.close()
        found["peft"] = timed(peft_step(backbone.model, rows), len(rows))
    return found


def step(bank: AdapterBank, rows: Any) -> None:
    """Gradients of some rows, and what moves nothing."""
    backward(bank, rows, 2048)
    for name in bank.names:
        bank[name].publish()


def peft_step(model: Any, rows: Any) -> Any:
    """The same rows through PEFT's layers, padded, in two batches."""
    from peft import LoraConfig, get_peft_model

    model.set_attn_implementation("sdpa")
    wrapped = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
    segments = [row.segments for row in rows]

    def run() -> None:
        for half in (segments[::2], segments[1::2]):
            padded_loss(wrapped, half).backward()

    return run


def timed(run: Any, rows: int) -> dict[str, float]:
    """Rows per second at the fastest of some steps behind the first."""
    seconds: list[float] = []
    for _ in range(STEPS):
        started = time.perf_counter()
        run()
        if CUDA:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return {"rows_per_second": round(rows / min(seconds[1:]), 2)}


def answers() -> dict[str, Any]:
    """Tokens per second that the served model decodes, all rows in one batch."""
    from multitune.core.bases import resolve_base
    from multitune.data.tokenizer import ChatFormat, load_tokenizer
    from multitune.inference.generate import GenerateOptions, generate
    from multitune.model.backbone import load_backbone

    ref = resolve_base("smollm2-135m", Path.cwd())
    bank = random_bank(load_backbone(ref, "cuda" if CUDA else "cpu", "bfloat16"), 1, RANK)
    count, new = (256, 64) if CUDA else (2, 4)
    rows = [row.segments for row in random_rows(count, 1, WORDS, 40_000)]
    chat = ChatFormat(load_tokenizer(ref))
    generate(bank, "a0", rows[:2], chat, GenerateOptions(2, batch_size=2))  # sets things up
    started = time.perf_counter()
    generate(bank, "a0", rows, chat, GenerateOptions(new, batch_size=count))
    return {"rows": count, "new_tokens": new, "rows_per_second": round(count / (time.perf_counter() - started), 2)}


def measure(name: str) -> dict[str, Any]:
    """One part, in this process."""
    if name in ("bfloat16", "nf4"):
        return large(name)
    alone = {"laws": laws, "answers": answers}
    return alone[name]() if name in alone else trainer(name)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
