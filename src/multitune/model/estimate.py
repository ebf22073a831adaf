"""What a run will ask of this machine, before any weight is loaded: parameters, memory and time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from multitune.core.results.run import MemoryParts
from multitune.model.demand import Demand, Work
from multitune.model.device import Device, Dtype, pick_device, pick_dtype
from multitune.model.memory import memory_parts, trainable
from multitune.model.quantized import Quantization, quantize
from multitune.model.shape import ModelShape

# Share of the rate of a lone product that the products of training reach: norms, attention, the vocabulary and small
# products take the rest. On two cores, in float32 and bfloat16 alike.
EFFICIENCY = 0.4
PRODUCT_SIZE = 2048  # largest side of the product that is timed
TIMED_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run computes, and how fast one large product is there."""

    device: torch.device
    dtype: torch.dtype
    flops: float  # per second
    dequantized: float = float("inf")  # weights per second that become whole, where the base is quantized


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rough figures: memory within about a seventh, time within a factor of two."""

    parameters: int  # of the base
    trainable_parameters: int  # of all adapters together
    executed_tokens: int  # in training
    memory: MemoryParts  # of the device; on a CPU that of the whole process
    seconds: float  # of training, validation, evaluation and the choice of what ships
    slowdown: float  # of these, against a run that computes no layer again


def measure_machine(
    device: Device, dtype: Dtype, widest: tuple[int, int], quantization: Quantization | None = None
) -> Machine:
    """Time a product of the model's widest layer, at most 2048 on each side, for about 0.2 s.

    Where the base is quantized, time as well how fast such a layer becomes whole.

    Raises:
        ModelError: this machine has no such device.
    """
    where = pick_device(device)
    compute = pick_dtype(dtype, where)
    inputs, outputs = (min(side, PRODUCT_SIZE) for side in widest)
    x = torch.ones(PRODUCT_SIZE, inputs, device=where, dtype=compute)
    weight = torch.ones(outputs, inputs, device=where, dtype=compute)
    flops = 2.0 * x.numel() * outputs / _fastest(lambda: F.linear(x, weight))
    if quantization is None:
        return Machine(where, compute, flops)
    held = quantize(weight, quantization)
    return Machine(where, compute, flops, weight.numel() / _fastest(held.whole))


def _fastest(compute: Callable[[], torch.Tensor]) -> float:
    """Seconds of the fastest of several times: the others were disturbed by what else runs here."""
    compute()[0, 0].item()  # the first one also sets things up
    fastest, started = float("inf"), time.perf_counter()
    while (before := time.perf_counter()) - started < TIMED_SECONDS:
        compute()[0, 0].item()  # waits for an accelerator, which computes asynchronously
        fastest = min(fastest, time.perf_counter() - before)
    return fastest


def estimate(shape: ModelShape, demand: Demand, work: Work, machine: Machine, recomputed: int = 0) -> Estimate:
    """Figures for a run.

    Memory as `memory_parts` counts it. Time: see `_seconds`.

    Args:
        shape: of the base.
        demand: what training holds in memory.
        work: what the run computes in all.
        machine: where.
        recomputed: layers that are computed again on the way back.
    """
    seconds = _seconds(shape, demand, work, machine, recomputed)
    return Estimate(
        parameters=shape.parameters,
        trainable_parameters=trainable(shape, demand),
        executed_tokens=round(work.trained_tokens),
        memory=memory_parts(shape, demand, machine.device, machine.dtype, recomputed),
        seconds=seconds,
        slowdown=seconds / _seconds(shape, demand, work, machine, 0) if recomputed else 1.0,
    )


def _seconds(shape: ModelShape, demand: Demand, work: Work, machine: Machine, recomputed: int) -> float:
    """2 operations per weight and token forward, 2 more back to the inputs, 2 more for gradients of the whole model.

    At `EFFICIENCY` of the measured rate; each pass over a quantized layer makes it whole besides.
    """
    again = recomputed / shape.layers
    operations = (4 + 2 * (not demand.ranks) + 2 * again) * work.trained_tokens + 2 * work.scored_tokens
    passes = (2 + again) * work.trained_packs + work.scored_passes
    seconds = shape.linear_weights * operations / (machine.flops * EFFICIENCY)
    return seconds + shape.linear_weights * passes / machine.dequantized
