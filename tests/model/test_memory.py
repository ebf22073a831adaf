"""Memory moves as the work does, counts what autograd keeps, and a budget is met with as few layers as can be."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from multitune.mixture.packing import pack_rows
from multitune.model.bank import AdapterBank
from multitune.model.demand import Demand, PackSize
from multitune.model.memory import HEAP, LOGITS, MOVING, layers_to_recompute, least_memory, memory_parts
from multitune.model.shape import ModelShape, model_shape

CPU, TYPE = torch.device("cpu"), torch.bfloat16
LLAMA_8B = ModelShape(
    parameters=8_030_261_248,
    rank_parameters=2_621_440,
    adapted=224,
    linear_weights=6_979_321_856,
    linear_widths=32 * 81_920,
    widest=(4096, 14336),
    layers=32,
    hidden=4096,
    heads=32,
    vocabulary=128_256,
)
DEMAND = Demand(ranks=(16, 16), pack=PackSize(tokens=2048, nodes=128, keys=2048 * 256))


def total(demand: Demand = DEMAND, recomputed: int = 0) -> float:
    return memory_parts(LLAMA_8B, demand, CPU, TYPE, recomputed).total


@pytest.mark.parametrize(
    "change", [{"ranks": (16, 32)}, *({"pack": replace(DEMAND.pack, **{of: 4096 * 256})} for of in ("tokens", "keys"))]
)
def test_more_work_at_once_takes_more_memory(change: dict[str, Any]) -> None:
    assert total(replace(DEMAND, **change)) > total()


def test_each_layer_that_is_computed_again_takes_less_memory() -> None:
    sizes = [total(recomputed=layers) for layers in range(LLAMA_8B.layers)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] / 1.5


def test_the_last_layer_is_computed_again_only_where_logits_take_more() -> None:
    found: dict[int, bool] = {}
    for vocabulary in (1_000, 10_000_000):
        shape = replace(LLAMA_8B, vocabulary=vocabulary)
        but_last, every = (memory_parts(shape, DEMAND, CPU, TYPE, layers).total for layers in (31, 32))
        found[vocabulary] = every < but_last
    assert found == {1_000: False, 10_000_000: True}


def test_an_accelerator_holds_no_python() -> None:
    assert memory_parts(LLAMA_8B, DEMAND, torch.device("cuda"), TYPE).process == 0


def test_a_budget_is_met_with_as_few_layers_as_can_be() -> None:
    for budget in (total(recomputed=20), total(recomputed=7) - 1, total() + 1):
        layers = layers_to_recompute(LLAMA_8B, DEMAND, CPU, TYPE, budget)
        assert layers is not None and total(recomputed=layers) <= budget
        assert layers == 0 or total(recomputed=layers - 1) > budget


def test_a_budget_below_the_least_memory_is_met_by_none() -> None:
    least = least_memory(LLAMA_8B, DEMAND, CPU, TYPE).total
    assert layers_to_recompute(LLAMA_8B, DEMAND, CPU, TYPE, least) is not None
    assert layers_to_recompute(LLAMA_8B, DEMAND, CPU, TYPE, least - 1) is None


@pytest.mark.parametrize("recomputed", [0, 1])
@pytest.mark.parametrize("family", ["llama3", "mistral", "smollm", "qwen3"])
def test_what_autograd_keeps_is_what_is_counted(wrapped, fill, draw_rows, tmp_path, family, recomputed) -> None:
    bank = AdapterBank(wrapped(family))
    fill(bank, "a", rank=2)
    bank.train("a")
    bank.recompute_layers(recomputed)
    (pack,) = pack_rows(draw_rows((0,) * 20), 10_000, align=64)
    given = {weight.untyped_storage().data_ptr() for weight in bank.backbone.model.parameters()}
    given |= {bank["a"].weights.untyped_storage().data_ptr(), bank["a"].compute.untyped_storage().data_ptr()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), bank.route(pack.slices, len(pack)):
        loss = bank.backbone.losses(pack).sum()
    measured = sum(storage.nbytes() for place, storage in kept.items() if place not in given)
    assert loss.requires_grad

    bank.backbone.model.config.save_pretrained(tmp_path)
    shape = model_shape(type(bank.backbone.ref)("tiny", str(tmp_path)), "all")
    size = PackSize.of([pack])
    parts = memory_parts(shape, Demand((2,), size), CPU, torch.float32, recomputed)
    layer = (shape.linear_widths + 2 * shape.adapted) / shape.layers * size.tokens + size.keys * shape.heads
    way_back = 4 * max(LOGITS * size.nodes * shape.vocabulary, MOVING * layer)
    logits = 4 * size.nodes * shape.vocabulary
    masks = 4 * size.keys * shape.heads  # which no function keeps, as they need no gradient
    inputs = 4 * recomputed * size.tokens * shape.hidden  # held by the layer that is computed again, not by autograd
    counted = parts.activations / HEAP - way_back - masks - inputs + logits
    assert measured == pytest.approx(counted, rel=0.1)
