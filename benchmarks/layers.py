"""Where a training step's time goes: seven layers with one adapter and with eight, and a step's costliest operators.

`make bench PART=layers`: random weights in the shape of SmolLM2-135M's layers, then a step of the demo's tweets.
"""

import json
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.record import record
from multitune.config.load import load_config
from multitune.core.records import Pack, PackRow
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.device import pick_dtype
from multitune.model.lora import LoraLinear, Routes
from multitune.model.low_rank import LowRank
from multitune.training.loss import pack_loss
from multitune.training.prepare import prepare_run

COMMAND = "make bench PART=layers"
DEMO = Path(__file__).parent.parent / "examples" / "finance" / "demo.yaml"
WIDTHS = (
    (576, 576),
    (576, 192),
    (576, 192),
    (576, 576),
    (576, 1536),
    (576, 1536),
    (1536, 576),
)  # q k v o gate up down
TOKENS, RANK, ROUNDS = 2048, 16, 15


def _pass(bank: AdapterBank, packs: Sequence[Pack]) -> float:
    started = time.perf_counter()
    for pack in packs:
        pack_loss(bank, pack).total.backward()
    return time.perf_counter() - started


def main() -> None:
    """Measure, print and record."""
    figures = {"milliseconds": layer_times((0, 1, 2, 8, 32)), "step": step_profile()}
    print(json.dumps(figures, indent=2))
    record("layers", COMMAND, figures)


def layer_times(counts: tuple[int, ...]) -> dict[str, float]:
    """Adapters in a pack -> median milliseconds of seven layers, forward and backward; measured in turn."""
    dtype = pick_dtype("auto", torch.device("cpu"))
    routes = Routes()
    layers = [_layer(wide, out, max(counts), routes, dtype) for wide, out in WIDTHS]
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(ROUNDS):
        for count in counts:
            bounds = [TOKENS * n // max(count, 1) // 64 * 64 for n in range(count)] + [TOKENS]
            slices = tuple((n, *span) for n, span in enumerate(pairwise(bounds))) if count else ()
            started = time.perf_counter()
            with routes.over(slices, TOKENS):
                for layer in layers:
                    x = torch.ones(TOKENS, layer.in_features, dtype=dtype, requires_grad=True)
                    layer(x).sum().backward()
            times[count].append(1000 * (time.perf_counter() - started))
    return {f"{count} adapters": round(median(values), 1) for count, values in times.items()}


def _layer(inputs: int, outputs: int, adapters: int, routes: Routes, dtype: torch.dtype) -> LoraLinear:
    layer = LoraLinear(nn.Linear(inputs, outputs, bias=False, dtype=dtype).requires_grad_(False), routes)
    for number in range(adapters):
        a, b = torch.randn(RANK, inputs), torch.zeros(outputs, RANK)
        pair = LowRank(a.to(dtype), b.to(dtype), 2.0, torch.zeros_like(a), torch.zeros_like(b))
        layer.pairs[number] = (pair,)
    return layer


def step_profile() -> dict[str, Any]:
    """Share of each operator's own time in one step of 64 tweets, the costliest first."""
    run = prepare_run(load_config(DEMO))
    bank = AdapterBank(load_backbone(run.ref, run.config.device, run.config.dtype))
    bank.create("a", RANK, 2.0 * RANK, "all", 17)
    bank.train("a")
    tokens = run.tasks["tweets"].tokens["train"]
    rows = [PackRow(tokens[i], adapter=0, task=0) for i in range(64)]
    packs = bank.backbone.pack(rows, run.config.train.pack_tokens)
    _pass(bank, packs)  # compiles kernels
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        seconds = _pass(bank, packs)
    found = sorted(watched.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in found)
    share = {event.key: round(event.self_cpu_time_total / total, 3) for event in found[:12]}
    return {"tokens": sum(map(len, packs)), "seconds": round(seconds, 2), "share_of_time": share}


if __name__ == "__main__":
    main()
