"""Speed of training against TRL and PEFT: `make bench PART=training DATA=folder`, about fifty minutes on two cores.

Every trainer runs in a process of its own, in turn, on the same rows with the same LoRA shape, type and threads.
A step of multitune has the rows that its workload sets; the others take steps of 16, which costs them nothing, since
their time is proportional to the rows. The first step of each is a warm-up and is not timed.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.record import RESULTS, record
from benchmarks.speed.workloads import WORKLOADS

COMMAND = "make bench PART=training DATA=folder"
# Operations in matrix products that SmolLM2-135M and an adapter of rank 16 cannot do without: forward and back to the
# inputs, 2 per weight each; the adapter's own gradients besides; the vocabulary only where an answer is predicted.
FLOPS_PER_TOKEN = 4 * 106.2e6 + 6 * 4.9e6
FLOPS_PER_ANSWER_TOKEN = 4 * 28.3e6
OUR_STEPS = 5
PEER_STEPS = {"tweets": 4, "intents": 2, "word_problems": 3, "long_tables": 2, "conversations": 2, "mix": 3}
EVERYWHERE = ("trl-chunked", "trl-packing")
ONCE = ("trl", "trl-checkpointing", "peft")  # never the fastest of TRL's on tweets; shown there
CURVE_STEPS = 10


def main() -> None:
    """Measure, record after every workload, print the ratios."""
    chosen = os.environ.get("WORKLOADS", ",".join(WORKLOADS)).split(",")
    figures: dict[str, Any] = {"matmul_gflops": round(matmul_rate() / 1e9), "threads": torch.get_num_threads()}
    path = RESULTS / "training.json"
    kept = json.loads(path.read_text("utf-8"))["figures"].get("workloads", {}) if path.exists() else {}
    figures["workloads"] = kept
    for workload in chosen:
        figures["workloads"][workload] = measure(workload, figures["matmul_gflops"] * 1e9)
        record("training", COMMAND, figures)
        print(workload, json.dumps(figures["workloads"][workload]["ratios"]))
    figures["curves"] = {"multitune": curve("multitune"), "trl": curve("trl-chunked")}
    record("training", COMMAND, figures)
    plot(Path(__file__).parents[2] / "docs" / "training_speed.svg")
    print(table())


def measure(workload: str, matmul: float) -> dict[str, Any]:
    """Figures of all trainers on one workload."""
    peers = os.environ["PEERS"].split(",") if "PEERS" in os.environ else EVERYWHERE
    peers = (*peers, *(ONCE if workload == "tweets" else ()))
    lines: dict[str, Any] = {"multitune": one("multitune", workload, OUR_STEPS)}
    for peer in peers:
        lines[peer] = one(peer, workload, PEER_STEPS[workload])
    lines["multitune again"] = one("multitune", workload, OUR_STEPS)
    shown = {name: summary(line) for name, line in lines.items()}
    ours = max((shown["multitune"], shown["multitune again"]), key=lambda line: line["rows_per_second"])
    operations = ours["executed_tokens_per_second"] * FLOPS_PER_TOKEN
    operations += ours["answer_tokens_per_second"] * FLOPS_PER_ANSWER_TOKEN
    fastest = max((n for n in shown if n.startswith("trl") and shown[n]), key=lambda n: shown[n]["rows_per_second"])
    return {
        "trainers": shown,
        "share_of_matmul_rate": round(operations / matmul, 3),
        "ratios": {
            "fastest_trl": fastest,
            "speed": round(ours["rows_per_second"] / shown[fastest]["rows_per_second"], 1),
            "memory": round(ours["peak_memory_gb"] / shown[fastest]["peak_memory_gb"], 2),
        },
    }


def one(setup: str, workload: str, steps: int, **environment: str) -> dict[str, Any]:
    """What one trainer reports; empty where it fails, such as for lack of memory."""
    command = [sys.executable, "-m", "benchmarks.speed.trainers", setup, workload, str(steps)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if result.returncode:
        print(f"{setup} on {workload} failed: {result.stderr.strip()[-400:]}")
        return {}
    return json.loads(result.stdout.splitlines()[-1])


def curve(setup: str) -> list[float]:
    """Loss of every step on tweets, in steps of the same 16 rows for everyone."""
    return one(setup, "tweets", CURVE_STEPS, BATCH="16")["loss"]


def summary(line: dict[str, Any]) -> dict[str, Any]:
    """Rates behind the first step, and the peak memory."""
    if not line:
        return {}
    seconds = sum(line["seconds"][1:])
    figures = {
        "rows_per_second": round(sum(line["rows"][1:]) / seconds, 3),
        "peak_memory_gb": round(line["peak_memory_gb"], 2),
    }
    if line["executed_tokens"]:
        figures["executed_tokens_per_second"] = round(sum(line["executed_tokens"][1:]) / seconds)
        figures["answer_tokens_per_second"] = round(sum(line["answer_tokens"][1:]) / seconds)
    return figures


def matmul_rate(size: int = 2048) -> float:
    """Operations per second of a lone bfloat16 product (float32 where there is no such unit)."""
    where = "cuda" if torch.cuda.is_available() else "cpu"
    x, weight = (torch.randn(size, size, dtype=torch.bfloat16, device=where) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        F.linear(x, weight)[0, 0].item()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def table() -> str:
    """The recorded figures as a Markdown table."""
    figures = json.loads((RESULTS / "training.json").read_text("utf-8"))["figures"]["workloads"]
    lines = ["| rows | multitune, rows/s | TRL at its fastest | ratio | peak memory, GB | share of matmul rate |"]
    lines.append("|---|---|---|---|---|---|")
    for name, workload in figures.items():
        trainers, ratios = workload["trainers"], workload["ratios"]
        ours = max(
            (trainers[key] for key in ("multitune", "multitune again")), key=lambda line: line["rows_per_second"]
        )
        trl = trainers[ratios["fastest_trl"]]
        lines.append(
            f"| {name.replace('_', ' ')} | {ours['rows_per_second']:.2f} | {trl['rows_per_second']:.2f} "
            f"| {ratios['speed']:.1f} | {ours['peak_memory_gb']:.1f} to {trl['peak_memory_gb']:.1f} "
            f"| {workload['share_of_matmul_rate']:.0%} |"
        )
    return "\n".join(lines)


def plot(path: Path) -> None:
    """The recorded ratios and loss curves as one SVG."""
    from matplotlib import pyplot

    figures = json.loads((RESULTS / "training.json").read_text("utf-8"))["figures"]
    pyplot.rcParams["svg.hashsalt"] = "multitune"
    canvas, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    names = list(figures["workloads"])
    ratios = [figures["workloads"][name]["ratios"]["speed"] for name in names]
    bars = left.barh([name.replace("_", " ") for name in names][::-1], ratios[::-1], color="#0072B2")
    left.bar_label(bars, fmt="%.1f×", padding=3)
    left.set_xscale("log")
    left.set_xlim(1, max(ratios) * 2)
    left.set_title("rows per second, as a multiple of TRL's fastest", fontsize=10)
    for name, colour in (("multitune", "#0072B2"), ("trl", "#D55E00")):
        losses = figures["curves"][name]
        right.plot(
            range(1, len(losses) + 1), losses, color=colour, label=name, linestyle="-" if name == "trl" else "--"
        )
    right.set_title("loss over the same steps of the same rows (tweets)", fontsize=10)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
