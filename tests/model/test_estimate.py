"""Estimates agree with the models they are of, and move the way the work does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

from multitune.core.bases import BaseRef
from multitune.core.errors import ModelError
from multitune.core.records import PackRow, Segments
from multitune.model.backbone import ALIGN, wrap_model
from multitune.model.bank import AdapterBank
from multitune.model.estimate import (
    EFFICIENCY,
    Demand,
    Machine,
    ModelShape,
    estimate,
    measure_machine,
    model_shape,
    row_cost,
)

MACHINE = Machine(torch.device("cpu"), torch.bfloat16, 1e12)
DEMAND = Demand(ranks=(4, 4), trained_tokens=1e6, scored_tokens=1e5, pack_tokens=2048, pack_targets=100)


@pytest.fixture(scope="module")
def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )


@pytest.fixture(scope="module")
def shape(config: LlamaConfig, tmp_path_factory: pytest.TempPathFactory) -> ModelShape:
    folder = tmp_path_factory.mktemp("base")
    config.save_pretrained(folder)  # no weights
    return model_shape(BaseRef("tiny", str(folder)), "attention")


def test_the_sizes_are_those_of_the_model_itself(shape: ModelShape, config: LlamaConfig) -> None:
    model = LlamaForCausalLM(config)
    parameters = sum(weight.numel() for weight in model.parameters())
    adapter = AdapterBank(wrap_model(model, BaseRef("tiny", "tiny"))).create("a", 4, 8.0, "attention", 0)
    assert (shape.parameters, 4 * shape.rank_parameters) == (parameters, adapter.weights.numel())


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Give a hub id"):
        model_shape(BaseRef("empty", str(tmp_path)), "attention")


def test_a_base_without_linear_layers_is_refused(tmp_path: Path) -> None:
    GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=20).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no linear layers"):
        model_shape(BaseRef("gpt2", str(tmp_path)), "attention")


def test_rows_cost_what_their_packs_hold() -> None:
    stem = np.arange(10, dtype=np.int32)
    rows = [PackRow(Segments(stem, np.array([20 + i, 1], dtype=np.int32)), adapter=0, task=0) for i in range(3)]
    cost = row_cost(rows, pack_tokens=100)
    assert (cost.executed, cost.largest_pack, cost.most_targets) == (ALIGN, ALIGN, 6)


def test_time_is_operations_over_rate() -> None:
    shape = ModelShape(2_000, 100, 1_000, 200, (10, 10), 2, 8, 50)
    operations = 1_000 * (4 * DEMAND.trained_tokens + 2 * DEMAND.scored_tokens)
    assert estimate(shape, DEMAND, MACHINE).seconds == pytest.approx(operations / (MACHINE.flops * EFFICIENCY))


def test_training_the_whole_model_takes_half_as_long_again(shape: ModelShape) -> None:
    demand = replace(DEMAND, scored_tokens=0.0)
    full = estimate(shape, replace(demand, ranks=()), MACHINE)
    assert full.seconds == pytest.approx(1.5 * estimate(shape, demand, MACHINE).seconds)
    assert full.trainable_parameters == shape.parameters


@pytest.mark.parametrize("change", [{"ranks": (4, 8)}, {"pack_tokens": 4096}, {"pack_targets": 200}])
def test_more_work_at_once_takes_more_memory(shape: ModelShape, change: dict[str, Any]) -> None:
    more = estimate(shape, replace(DEMAND, **change), MACHINE).memory_bytes
    assert more > estimate(shape, DEMAND, MACHINE).memory_bytes


def test_checkpointing_trades_memory_for_time(shape: ModelShape) -> None:
    plain, checkpointed = (estimate(shape, replace(DEMAND, checkpointing=on), MACHINE) for on in (False, True))
    assert checkpointed.memory_bytes < plain.memory_bytes and checkpointed.seconds > plain.seconds


def test_a_measured_rate_is_a_plausible_one() -> None:
    assert 1e8 < measure_machine("cpu", "float32", (64, 64)).flops < 1e15
