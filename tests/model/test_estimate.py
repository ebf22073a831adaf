"""Estimates agree with the models they are of, and move the way the work does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

from multitune.core.bases import BaseRef
from multitune.core.errors import ModelError
from multitune.core.records import PackRow, Segments
from multitune.model.attention import KEYS
from multitune.model.backbone import ALIGN, NODES, wrap_model
from multitune.model.bank import AdapterBank
from multitune.model.demand import Demand, PackSize, Work, row_cost
from multitune.model.estimate import EFFICIENCY, Machine, estimate, measure_machine
from multitune.model.shape import ModelShape, model_shape

MACHINE = Machine(torch.device("cpu"), torch.bfloat16, 1e12)
DEMAND = Demand(ranks=(4, 4), pack=PackSize(tokens=2048, nodes=128, keys=2048 * 256))
WORK = Work(trained_tokens=1e6, trained_packs=500, scored_tokens=1e5, scored_passes=50)


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
    assert (cost.executed, cost.packs, cost.size) == (ALIGN, 1, PackSize(ALIGN, NODES, ALIGN * KEYS))


def test_time_is_operations_over_rate(shape: ModelShape) -> None:
    operations = shape.linear_weights * (4 * WORK.trained_tokens + 2 * WORK.scored_tokens)
    found = estimate(shape, DEMAND, WORK, MACHINE)
    assert found.seconds == pytest.approx(operations / (MACHINE.flops * EFFICIENCY))
    assert found.slowdown == 1.0


def test_training_the_whole_model_takes_half_as_long_again(shape: ModelShape) -> None:
    work = replace(WORK, scored_tokens=0.0)
    full = estimate(shape, replace(DEMAND, ranks=()), work, MACHINE)
    assert full.seconds == pytest.approx(1.5 * estimate(shape, DEMAND, work, MACHINE).seconds)
    assert full.trainable_parameters == shape.parameters


def test_a_quantized_base_is_made_whole_once_for_each_pass_through_it(shape: ModelShape) -> None:
    slow = replace(MACHINE, dequantized=1e6)
    more = estimate(shape, DEMAND, WORK, slow).seconds - estimate(shape, DEMAND, WORK, MACHINE).seconds
    passes = 2 * WORK.trained_packs + WORK.scored_passes
    assert more == pytest.approx(shape.linear_weights * passes / slow.dequantized)


def test_recomputed_layers_cost_a_forward_pass_of_theirs(shape: ModelShape) -> None:
    work = replace(WORK, scored_tokens=0.0)
    one, both = (estimate(shape, DEMAND, work, MACHINE, layers).slowdown for layers in (1, 2))
    assert (one, both) == (pytest.approx(1.25), pytest.approx(1.5))


def test_a_measured_rate_is_a_plausible_one() -> None:
    assert 1e8 < measure_machine("cpu", "float32", (64, 64)).flops < 1e15


def test_how_fast_codes_become_weights_is_measured() -> None:
    assert 1e5 < measure_machine("cpu", "float32", (64, 64), "int8").dequantized < 1e14
