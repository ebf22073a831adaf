"""What a run will ask of this machine, before any weight is loaded: parameters, memory and time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from multitune.core.bases import BaseRef
from multitune.core.errors import ModelError
from multitune.core.records import PackRow
from multitune.mixture.packing import pack_rows
from multitune.model.backbone import ALIGN
from multitune.model.device import Device, Dtype, pick_device, pick_dtype
from multitune.model.gguf import base_config, no_config
from multitune.model.quantized import BYTES, Quantization, require_unquantized
from multitune.model.targets import linear_layers, select_targets

# Measured with SmolLM2-135M, packs of 400 to 2,048 tokens, answers of 10 to 100 tokens, PyTorch 2.13.
ACTIVATION_COPIES = 2.0  # what is held per token, over the inputs and outputs of all linear layers
LOGIT_COPIES = 3.0  # per predicted token and word of the vocabulary: the logits, their gradient, what lies between
PROCESS_BYTES = 600_000_000  # Python, torch and transformers themselves
# Share of the rate of a lone product that the products of training reach: norms, attention, the vocabulary and small
# products take the rest. On two cores, in float32 and bfloat16 alike.
EFFICIENCY = 0.4
PRODUCT_SIZE = 2048  # largest side of the product that is timed
TIMED_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a base, and of an adapter on it."""

    parameters: int  # tied weights count once
    rank_parameters: int  # of an adapter, per unit of its rank
    linear_weights: int  # weights that every token is multiplied with, the output embedding left out
    linear_widths: int  # inputs and outputs of all linear layers, added up
    widest: tuple[int, int]  # (in, out) of the largest linear layer
    layers: int
    hidden: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run computes, and how fast one large product is there."""

    device: torch.device
    dtype: torch.dtype
    flops: float  # per second


@dataclass(frozen=True, slots=True)
class Demand:
    """What a run computes; tokens are those that are executed, shared prefixes counted once."""

    ranks: tuple[int, ...]  # of the adapters that are trained; empty: the whole model is
    trained_tokens: float  # forward and backward
    scored_tokens: float  # forward alone: validation, evaluation and the choice of what ships
    pack_tokens: int  # of the largest pack
    pack_targets: int  # predicted tokens of one pack
    checkpointing: bool = False
    quantization: Quantization | None = None  # of the base's linear layers


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rough figures: memory within about a third, time within a factor of two."""

    parameters: int  # of the base
    trainable_parameters: int  # of all adapters together
    executed_tokens: int  # in training
    memory_bytes: int  # of the device; on a CPU that of the whole process
    seconds: float  # of training, validation, evaluation and the choice of what ships


@dataclass(frozen=True, slots=True)
class RowCost:
    """What it takes to run some rows once."""

    executed: int  # tokens, shared prefixes counted once
    largest_pack: int  # tokens
    most_targets: int  # predicted tokens of one pack


def row_cost(rows: Sequence[PackRow], pack_tokens: int) -> RowCost:
    """Lay rows out as training does, and count."""
    packs = pack_rows(rows, pack_tokens, align=ALIGN)
    return RowCost(
        executed=sum(len(pack) for pack in packs),
        largest_pack=max(len(pack) for pack in packs),
        most_targets=max(len(pack.target_node) for pack in packs),
    )


def model_shape(ref: BaseRef, targets: str | Sequence[str], quantization: Quantization | None = None) -> ModelShape:
    """Sizes of a base from its config alone: the model is built without memory, on torch's meta device.

    Args:
        ref: the base.
        targets: layers that adapters act on, as `lora.targets` says them.
        quantization: of the run.

    Raises:
        ModelError: no config of a causal language model, one that was saved quantized, or `lora.targets` names no
            layer of it.
    """
    model = _empty_model(ref)
    require_unquantized(ref.name, model.config, quantization)
    linears = linear_layers(model)
    if not linears:
        raise ModelError(
            f"base: {ref.name!r} ({type(model).__name__}) has no linear layers to adapt. Use another base"
        )
    shapes = {name: (linear.in_features, linear.out_features) for name, linear in linears.items()}
    adapted = select_targets(linears, targets)
    config = model.config.get_text_config()
    return ModelShape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        rank_parameters=sum(sum(shapes[module]) for module in adapted),
        linear_weights=sum(inputs * outputs for inputs, outputs in shapes.values()),
        linear_widths=sum(inputs + outputs for inputs, outputs in shapes.values()),
        widest=max(shapes.values(), key=lambda shape: shape[0] * shape[1]),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
    )


def _empty_model(ref: BaseRef) -> Any:
    from transformers import AutoModelForCausalLM

    config = base_config(ref)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise no_config(ref, error) from error


def measure_machine(device: Device, dtype: Dtype, widest: tuple[int, int]) -> Machine:
    """Time a product of the model's widest layer, at most 2048 on each side, for about 0.2 s.

    Raises:
        ModelError: this machine has no such device.
    """
    where = pick_device(device)
    compute = pick_dtype(dtype, where)
    inputs, outputs = (min(side, PRODUCT_SIZE) for side in widest)
    x = torch.ones(PRODUCT_SIZE, inputs, device=where, dtype=compute)
    weight = torch.ones(outputs, inputs, device=where, dtype=compute)
    _finish(F.linear(x, weight))  # the first one also sets things up
    fastest, started = float("inf"), time.perf_counter()
    while (before := time.perf_counter()) - started < TIMED_SECONDS:
        _finish(F.linear(x, weight))
        # The fastest counts: the others were disturbed by what else runs here.
        fastest = min(fastest, time.perf_counter() - before)
    return Machine(where, compute, 2.0 * x.numel() * outputs / fastest)


def _finish(result: torch.Tensor) -> None:
    """Wait for an accelerator, which computes asynchronously."""
    result[0, 0].item()


def estimate(shape: ModelShape, demand: Demand, machine: Machine) -> Estimate:
    """Figures for a run.

    Memory: the weights in the compute type, those of quantized layers in their bits, beside the widest of them as it
    is read; for each trained value a float32 master, gradient and two moments, and
    the copy that computes; activations of one pack, `ACTIVATION_COPIES` × the inputs and outputs of all linear
    layers, and its logits. Time: 2 operations per weight and token forward, 2 more back to the inputs, 2 more for the
    weights' own gradients where the whole model is trained, at `EFFICIENCY` of the measured rate.
    """
    full = not demand.ranks
    trainable = shape.parameters if full else sum(demand.ranks) * shape.rank_parameters
    bytes_each = machine.dtype.itemsize
    copy = 0 if machine.dtype == torch.float32 else bytes_each  # float32 adapters compute with their masters
    state = trainable * (16 + copy)
    process = PROCESS_BYTES if machine.device.type == "cpu" else 0
    passes = 2 + 2 + 2 * full + 2 * demand.checkpointing
    operations = shape.linear_weights * (passes * demand.trained_tokens + 2 * demand.scored_tokens)
    return Estimate(
        parameters=shape.parameters,
        trainable_parameters=trainable,
        executed_tokens=round(demand.trained_tokens),
        memory_bytes=round(
            process + _weights(shape, demand, bytes_each) + state + _activations(shape, demand, bytes_each)
        ),
        seconds=operations / (machine.flops * EFFICIENCY),
    )


def _weights(shape: ModelShape, demand: Demand, bytes_each: int) -> float:
    if demand.quantization is None:
        return shape.parameters * bytes_each
    plain = shape.parameters - shape.linear_weights + shape.widest[0] * shape.widest[1]
    return plain * bytes_each + shape.linear_weights * BYTES[demand.quantization]


def _activations(shape: ModelShape, demand: Demand, bytes_each: int) -> float:
    per_token = ACTIVATION_COPIES * shape.linear_widths
    if demand.checkpointing:  # every layer keeps its input; one at a time is computed again
        per_token = per_token / shape.layers + shape.layers * shape.hidden
    return (
        demand.pack_tokens * per_token * bytes_each
        + demand.pack_targets * shape.vocabulary * LOGIT_COPIES * bytes_each
    )
