"""Tiny models with random weights, adapters that do something, and rows that share prefixes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from multitune.core.bases import BaseRef
from multitune.core.records import PackRow, Segments
from multitune.model.backbone import Backbone, wrap_model
from multitune.model.bank import Adapter, AdapterBank

TOKENS = {"vocab_size": 96, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PLAIN = TOKENS | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}
GROUPED = PLAIN | {"num_key_value_heads": 2}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8}
ONE_WINDOW = {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3": ("llama", GROUPED | {"rope_parameters": LLAMA3_ROPE}),
    "mistral": ("mistral", GROUPED | {"sliding_window": 8}),
    "qwen3": ("qwen3", GROUPED | {"head_dim": 8}),
    "gemma3": ("gemma3_text", GROUPED | ONE_WINDOW),
    "gemma2": ("gemma2", GROUPED | ONE_WINDOW | CAPS),
    "phi3": ("phi3", GROUPED),
    "smollm": (
        "llama",
        PLAIN | {"hidden_size": 36, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
    ),
    "gpt_neox": ("gpt_neox", PLAIN),
    "gpt2": ("gpt2", TOKENS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "opt": ("opt", PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "mamba": ("mamba", TOKENS | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    "recurrent_gemma": ("recurrent_gemma", PLAIN | {"num_hidden_layers": 3, "lru_width": 32}),
    "lfm2": ("lfm2", GROUPED | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    "bert": ("bert", PLAIN),
    "qwen2_moe": (
        "qwen2_moe",
        GROUPED
        | {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 2}
        | {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16},
    ),
}

Rows = list[PackRow]


def build(family: str, dtype: torch.dtype = torch.float32) -> Any:
    """The same random model every time; weights large enough for attention to matter."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, options = FAMILIES[family]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **options), dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5.0)
    return model.to(dtype).eval()


def draw(adapters: Sequence[int], seed: int = 0) -> Rows:
    """Six rows per adapter: a common stem, then words of two letters, so that prefixes branch early and late."""
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for place in range(6 * len(adapters)):
        body = rng.integers(5, 7, int(rng.integers(1, 6)))
        prompt = np.concatenate([np.arange(10, 19), body]).astype(np.int32)
        answer = rng.integers(3, 90, int(rng.integers(1, 5))).astype(np.int32)
        rows.append(PackRow(Segments(prompt, answer), adapters[place % len(adapters)], 0, float(rng.uniform(0.2, 2))))
    return rows


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Any]:
    return build


@pytest.fixture(scope="session")
def wrapped() -> Callable[..., Backbone]:
    def wrap(family: str = "smollm", dtype: torch.dtype = torch.float32) -> Backbone:
        return wrap_model(build(family, dtype), BaseRef(f"tiny-{family}", f"tiny-{family}"))

    return wrap


@pytest.fixture(scope="session")
def draw_rows() -> Callable[..., Rows]:
    return draw


@pytest.fixture(scope="session")
def fill() -> Callable[..., Adapter]:
    """Adds an adapter whose B is not zero, so that it changes the output; the name decides its weights."""

    def add(bank: AdapterBank, name: str, targets: str = "all", rank: int = 4, alpha: float = 8.0) -> Adapter:
        adapter = bank.create(name, rank=rank, alpha=alpha, targets=targets, seed=0)
        generator = torch.Generator().manual_seed(sum(name.encode()))
        for slot in adapter.slots:
            b = slot.views(adapter.weights)[1]
            b.copy_(torch.randn(b.shape, generator=generator) * 0.1)
        adapter.publish()
        return adapter

    return add
