"""The laws of the training step on any device: each function says how far two ways of the same sums are apart."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from multitune.core.bases import BaseRef
from multitune.core.records import PackRow, Segments
from multitune.model.backbone import Backbone, wrap_model
from multitune.model.bank import AdapterBank
from multitune.model.lora import replace_layers
from multitune.model.quantized import QuantizedLinear, quantize
from multitune.model.targets import linear_layers
from multitune.training.loss import backward

TOLERANCE = 1e-4  # in float32, of the largest gradient
ADAPTERS = 8


def random_llama(device: torch.device, dtype: torch.dtype = torch.float32, **sizes: int) -> Backbone:
    """A Llama with random weights, made where it computes."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig.from_dict({**small, "num_key_value_heads": 2, "vocab_size": 512, **sizes})
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return wrap_model(model, BaseRef("random", "random"))


def random_bank(backbone: Backbone, adapters: int, rank: int = 8) -> AdapterBank:
    """Adapters that do something, each with a gradient."""
    bank = AdapterBank(backbone)
    for number in range(adapters):
        adapter = bank.create(f"a{number}", rank, 2.0 * rank, "all", seed=number)
        noise = torch.Generator().manual_seed(number)
        adapter.weights.add_((torch.randn(adapter.weights.shape, generator=noise) * 0.05).to(adapter.weights))
        bank.train(f"a{number}").publish()
    return bank


def random_rows(count: int, adapters: int, words: int, vocabulary: int) -> list[PackRow]:
    """Rows whose first half is an instruction that all share, with answers of four tokens."""
    rng = np.random.default_rng(0)
    shared = rng.integers(3, vocabulary, words // 2)
    rows: list[PackRow] = []
    for place in range(count):
        prompt = np.concatenate([shared, rng.integers(3, vocabulary, words - len(shared))]).astype(np.int32)
        answer = rng.integers(3, vocabulary, 4).astype(np.int32)
        rows.append(PackRow(Segments(prompt, answer), place % adapters, 0, 1.0 / (4 * count)))
    return rows


def gradients(bank: AdapterBank, parts: Sequence[Sequence[PackRow]], pack_tokens: int = 2048) -> torch.Tensor:
    """Of all adapters, summed over the parts."""
    for name in bank.names:
        grad = bank[name].grad
        assert grad is not None
        grad.zero_()
    for rows in parts:
        backward(bank, rows, pack_tokens)
    return torch.cat([grad.clone() for name in bank.names if (grad := bank[name].grad) is not None])


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, against the largest value."""
    return float((one - other).abs().max() / one.abs().max())


def shared_prefixes(device: torch.device) -> float:
    """Gradients of packs that share prefixes, and of each row alone."""
    bank, rows = random_bank(random_llama(device), ADAPTERS), random_rows(32, ADAPTERS, 24, 512)
    return apart(gradients(bank, [rows]), gradients(bank, [[row] for row in rows]))


def cuts(device: torch.device) -> float:
    """Gradients of one pack, and of many small ones."""
    bank, rows = random_bank(random_llama(device), ADAPTERS), random_rows(32, ADAPTERS, 24, 512)
    return apart(gradients(bank, [rows]), gradients(bank, [rows], pack_tokens=64))


def company(device: torch.device) -> float:
    """Gradients of an adapter that trains among eight, and alone."""
    bank, rows = random_bank(random_llama(device), ADAPTERS), random_rows(32, ADAPTERS, 24, 512)
    alone = [row for row in rows if row.adapter == 0]
    size = len(bank["a0"].weights)
    return apart(gradients(bank, [rows])[:size], gradients(bank, [alone])[:size])


def recomputed(device: torch.device) -> float:
    """Gradients with and without a layer that is computed again; exact where products are repeatable."""
    bank, rows = random_bank(random_llama(device), ADAPTERS), random_rows(32, ADAPTERS, 24, 512)
    before = gradients(bank, [rows])
    bank.recompute_layers(1)
    return apart(before, gradients(bank, [rows]))


def quantized(device: torch.device) -> float:
    """Gradients on a base in nf4, and on a plain one with the weights that its codes stand for."""
    found: list[torch.Tensor] = []
    for plain in (False, True):
        bank = random_bank(hold_in_nf4(random_llama(device), plain), ADAPTERS)
        found.append(gradients(bank, [random_rows(32, ADAPTERS, 24, 512)]))
    return apart(*found)


@torch.no_grad()
def hold_in_nf4(backbone: Backbone, plain: bool = False) -> Backbone:
    """The backbone with its linear layers in nf4, or with the weights that these codes stand for."""
    layers: dict[str, torch.nn.Module] = {}
    for name, linear in linear_layers(backbone.model).items():
        assert isinstance(linear, torch.nn.Linear)
        held = quantize(linear.weight.data, "nf4")
        if plain:
            linear.weight.copy_(held.whole())
        else:
            layers[name] = QuantizedLinear(held, linear.bias)
    replace_layers(backbone.model, layers)
    return backbone


LAWS: dict[str, Callable[[torch.device], float]] = {
    law.__name__: law for law in (shared_prefixes, cuts, company, recomputed, quantized)
}
