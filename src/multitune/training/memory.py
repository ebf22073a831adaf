"""What training of a prepared run holds in memory, and which layers are computed again so that it fits a budget."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from multitune.core.errors import ConfigError
from multitune.core.records import PackRow
from multitune.core.results.run import MemoryParts
from multitune.core.text import gib
from multitune.model.demand import Demand, PackSize, RowCost, row_cost
from multitune.model.device import pick_device, pick_dtype
from multitune.model.memory import layers_to_recompute, least_memory
from multitune.model.quantized import Quantization
from multitune.model.shape import ModelShape, model_shape
from multitune.training.plan import AdapterPlan
from multitune.training.prepare import PreparedRun

SAMPLED_STEPS = 12  # spread over a phase: the mixture, and with it the cost of a step, moves
SHORTEST = 128  # tokens of a pack that an error still proposes


def step_costs(run: PreparedRun, pack_tokens: int, longest: int | None = None) -> list[list[RowCost]]:
    """What steps sampled over each phase take, in packs of at most so many tokens.

    Args:
        run: the run.
        pack_tokens: budget of one pack.
        longest: rows with more tokens are left out; a step without others costs nothing and is left out, too.
    """
    found: list[list[RowCost]] = []
    for phase in run.phases:
        steps = max(plan.spec.steps for plan in phase)
        sample = sorted({int(step) for step in np.linspace(0, steps - 1, min(SAMPLED_STEPS, steps))})
        rows = [_step_rows(run, phase, step, longest) for step in sample]
        found.append([row_cost(of, pack_tokens) for of in rows if of])
    return found


def _step_rows(run: PreparedRun, phase: Sequence[AdapterPlan], step: int, longest: int | None) -> list[PackRow]:
    """The rows that all adapters of a phase draw in one step; an adapter whose steps are over draws none."""
    rows = [
        PackRow(run.tasks[draw.task].tokens["train"][draw.index], adapter=number, task=0)
        for number, plan in enumerate(phase)
        if step < plan.spec.steps
        for draw in plan.stream.draw(step)
    ]
    return [row for row in rows if longest is None or len(row.segments.tokens) <= longest]


def memory_demand(run: PreparedRun, costs: Sequence[Sequence[RowCost]]) -> Demand:
    """What training holds, from what its steps cost."""
    return Demand(
        ranks=tuple(plan.spec.rank for plan in run.plans) if run.config.method == "lora" else (),
        pack=PackSize.largest([cost.size for phase in costs for cost in phase]),
        quantization=run.config.quantization,
    )


def recomputed_layers(run: PreparedRun, shape: ModelShape, demand: Demand) -> int:
    """How many layers are computed again on the way back: all, if the run says so, or as many as `memory` asks for.

    Raises:
        ConfigError: the run does not fit into `memory` if all are; the message names its parts, and what would fit.
    """
    if run.config.train.gradient_checkpointing:
        return shape.layers
    if run.config.memory is None:
        return 0
    device, dtype = _where(run)
    found = layers_to_recompute(shape, demand, device, dtype, run.config.memory)
    if found is None:
        raise _too_little(run, shape, demand)
    return found


def layers_of(run: PreparedRun) -> int:
    """`recomputed_layers` of a run of which nothing is known yet."""
    if run.config.memory is None:
        return 0
    shape = model_shape(run.ref, run.config.lora.targets, run.config.quantization)
    return recomputed_layers(run, shape, memory_demand(run, step_costs(run, run.config.train.pack_tokens)))


def _where(run: PreparedRun) -> tuple[torch.device, torch.dtype]:
    device = pick_device(run.config.device)
    return device, pick_dtype(run.config.dtype, device)


def _too_little(run: PreparedRun, shape: ModelShape, demand: Demand) -> ConfigError:
    budget = cast(int, run.config.memory)
    parts = least_memory(shape, demand, *_where(run))
    fits = [f"{what} ({gib(of.total)})" for what, of in _smaller(run, shape, demand) if of.total <= budget]
    remedy = (
        f"What would fit: {'; or '.join(fits)}"
        if fits
        else "No shorter packs or fewer bits make it fit: give a smaller base, fewer adapters or a lower lora.rank"
    )
    return ConfigError(
        f"memory: {gib(budget)} is too little for this run, which takes about {gib(parts.total)} with layers "
        f"computed again on the way back ({parts.line}). {remedy}"
    )


def _smaller(run: PreparedRun, shape: ModelShape, demand: Demand) -> Iterator[tuple[str, MemoryParts]]:
    """Runs that take less, by what to change, with layers computed again; from the least change on."""
    kinds: list[Quantization | None] = [demand.quantization]
    if run.config.method == "lora" and demand.quantization != "nf4":
        kinds.append("nf4")
    tokens = run.config.train.pack_tokens
    while tokens >= SHORTEST:
        costs = step_costs(run, tokens, longest=tokens)
        for kind in kinds:
            changed = [f"`quantization: {kind}`"] if kind != demand.quantization else []
            if tokens < run.config.train.pack_tokens:
                changed.append(f"`train: {{pack_tokens: {tokens}, max_length: {tokens}}}`")
            if changed and any(costs):
                smaller = replace(memory_demand(run, costs), quantization=kind)
                yield " with ".join(changed), least_memory(shape, smaller, *_where(run))
        tokens //= 2
