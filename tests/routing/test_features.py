"""What a router sees: the mean of a text's tokens, of the frozen base alone; and Arrow, which asks the adapters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from multitune.core.bases import resolve_base
from multitune.core.errors import ConfigError, ModelError
from multitune.data.tokenizer import load_tokenizer
from multitune.model.backbone import load_backbone
from multitune.model.bank import Adapter, AdapterBank
from multitune.routing.arrow import arrow_scores
from multitune.routing.features import open_features

TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10", ""]


@pytest.fixture(scope="module")
def bank(base_folder: Path) -> AdapterBank:
    bank = AdapterBank(load_backbone(resolve_base(str(base_folder)), "cpu", "float32"))
    for seed, name in enumerate(("one", "two")):
        filled(bank, name, "all", seed)
    return bank


def filled(bank: AdapterBank, name: str, targets: str | tuple[str, ...], seed: int = 0) -> Adapter:
    adapter = bank.create(name, 4, 8.0, targets, seed)
    adapter.weights.copy_(torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(seed)))
    adapter.publish()
    return adapter


@pytest.fixture(scope="module")
def tokenizer(base_folder: Path):
    return load_tokenizer(resolve_base(str(base_folder)))


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_embedding_features_are_the_mean_of_the_tables_rows(bank, tokenizer):
    found = open_features("embedding", bank.backbone, tokenizer).of(TEXTS)
    table = bank.backbone.model.get_input_embeddings().weight.detach().numpy()
    for row, text in zip(found[:3], TEXTS, strict=False):
        assert np.allclose(row, table[ids(tokenizer, text)].mean(0), atol=1e-6)
    assert not found[3].any()


@pytest.mark.parametrize("layer", [1, 2])
def test_layer_features_are_the_mean_of_its_outputs_behind_the_first_token(bank, tokenizer, layer):
    found = open_features(f"layer:{layer}", bank.backbone, tokenizer).of(TEXTS)
    for row, text in zip(found[:3], TEXTS, strict=False):
        with torch.no_grad(), bank.use("base") as model:
            hidden = model(input_ids=torch.tensor([ids(tokenizer, text)]), output_hidden_states=True).hidden_states
        own = hidden[layer][0]
        expected = (own[1:] if len(own) > 1 else own).mean(0).numpy()
        assert np.allclose(row, expected, atol=1e-4)
    assert not found[3].any()


def test_features_do_not_know_of_adapters(bank, tokenizer):
    features = open_features("layer:2", bank.backbone, tokenizer)
    before = features.of(TEXTS)
    with bank.use("one"):
        assert np.array_equal(features.of(TEXTS), before)


def test_kinds_of_features_have_keys_of_their_own(bank, tokenizer):
    names = ("embedding", "layer:1", "layer:2")
    assert len({open_features(name, bank.backbone, tokenizer).key for name in names}) == 3


def test_a_layer_or_encoder_that_is_not_there_is_refused(bank, tokenizer, tmp_path):
    with pytest.raises(ConfigError, match="'layer:9', but this base has layers 1 to 2"):
        open_features("layer:9", bank.backbone, tokenizer)
    with pytest.raises(ModelError, match="no encoder could be loaded"):
        open_features(f"encoder:{tmp_path}", bank.backbone, tokenizer)


def test_any_transformers_model_serves_as_encoder(bank, tokenizer, base_folder):
    features = open_features(f"encoder:{base_folder}", bank.backbone, tokenizer)
    assert features.of(TEXTS[:3]).shape == (3, bank.backbone.model.config.hidden_size)


def test_arrow_scores_what_lies_along_the_direction_that_an_adapter_stretches_most(base_folder, tokenizer):
    bank, layer = AdapterBank(load_backbone(resolve_base(str(base_folder)), "cpu", "float32")), "layers.1.mlp.up_proj"
    a, b = filled(bank, "only", (f"model.{layer}",)).tensors()[f"model.{layer}"]
    seen: list[torch.Tensor] = []
    watched = bank.backbone.model.get_submodule(f"model.{layer}")
    handle = watched.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    found = arrow_scores(bank, ("only",), tokenizer, [TEXTS[0]])[0, 0]
    handle.remove()
    assert found == pytest.approx(float((seen[0] @ torch.linalg.svd(b @ a).Vh[0]).abs().mean()), rel=1e-4)


def test_arrow_scores_every_text_and_adapter(bank, tokenizer):
    scores = arrow_scores(bank, ("one", "two"), tokenizer, TEXTS)
    assert scores.shape == (4, 2) and (scores[:3] > 0).all() and not scores[3].any()
