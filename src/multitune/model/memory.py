"""Memory of training, part by part, and how many layers to compute again so that it fits into a budget."""

import torch

from multitune.core.results.run import MemoryParts
from multitune.model.demand import Demand
from multitune.model.quantized import BYTES
from multitune.model.shape import ModelShape

# Values are counted from what autograd functions save; `make bench PART=memory` holds them to measured peaks.
HEAP = 1.3  # of activations on a CPU: holes that the C library's heap keeps between tensors
PROCESS_BYTES = 600_000_000  # Python, torch and transformers themselves
KEPT = 1.0  # of a token and layer: values kept for the way back, over the inputs and outputs of its linear layers
LOGITS = 2.0  # copies of the logits: themselves and their gradient
MOVING = 1.0  # of one layer, on the way back: gradients, over what the layer keeps


def memory_parts(
    shape: ModelShape, demand: Demand, device: torch.device, dtype: torch.dtype, recomputed: int = 0
) -> MemoryParts:
    """Bytes of a run at its peak.

    Args:
        shape: of the base.
        demand: of the run.
        device: where it computes.
        dtype: in which type.
        recomputed: layers, the first ones, that keep their input alone and are computed again on the way back.
    """
    each = dtype.itemsize
    trained = trainable(shape, demand)
    # A copy computes beside the float32 master; float32 adapters, and models, compute with the master itself.
    copies = 0 if dtype == torch.float32 or not demand.ranks else each
    return MemoryParts(
        process=PROCESS_BYTES if device.type == "cpu" else 0,
        base=_base(shape, demand, each),
        adapters=trained * (8 + copies) if demand.ranks else trained * (each + (4 if each < 4 else 0)),
        optimizer=trained * 8,
        activations=_activations(shape, demand, each, recomputed) * (HEAP if device.type == "cpu" else 1.0),
    )


def trainable(shape: ModelShape, demand: Demand) -> int:
    """Weights that are trained: of all adapters together, or of the model."""
    return sum(demand.ranks) * shape.rank_parameters if demand.ranks else shape.parameters


def layers_to_recompute(
    shape: ModelShape, demand: Demand, device: torch.device, dtype: torch.dtype, budget: float
) -> int | None:
    """The fewest layers to compute again, so that a run takes at most `budget` bytes; None if none do."""
    for recomputed in range(shape.layers + 1):
        if memory_parts(shape, demand, device, dtype, recomputed).total <= budget:
            return recomputed
    return None


def least_memory(shape: ModelShape, demand: Demand, device: torch.device, dtype: torch.dtype) -> MemoryParts:
    """What the run takes with as many layers computed again as help.

    That of the last layer rarely does: it is needed first on the way back, and then all of it is there at once.
    """
    sizes = (memory_parts(shape, demand, device, dtype, recomputed) for recomputed in range(shape.layers + 1))
    return min(sizes, key=lambda parts: parts.total)


def _base(shape: ModelShape, demand: Demand, each: int) -> float:
    if demand.quantization is None:
        return shape.parameters * each
    plain = shape.parameters - shape.linear_weights + shape.widest[0] * shape.widest[1]
    return plain * each + shape.linear_weights * BYTES[demand.quantization]


def _activations(shape: ModelShape, demand: Demand, each: int, recomputed: int) -> float:
    """Bytes of one pack when most of it is there: where the logits are, or where the last layer goes back.

    The first layers are those computed again: when the way back comes to them, all behind them is free.
    """
    pack = demand.pack
    scores = pack.keys * shape.heads
    low_rank = max(demand.ranks, default=0) * shape.adapted
    layer = pack.tokens * (KEPT * shape.linear_widths + low_rank) / shape.layers + scores
    kept = (shape.layers - recomputed) * layer + recomputed * pack.tokens * shape.hidden
    again = layer if recomputed == shape.layers else 0.0
    peak = max(LOGITS * pack.nodes * shape.vocabulary, again + MOVING * layer)
    return each * (kept + scores + peak)  # the mask of attention is as large as the scores of one layer
