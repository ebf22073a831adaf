"""Laws of the backbone: a pack's loss and gradients are those of its rows alone, and only decoders are let in."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from multitune.core.bases import BaseRef
from multitune.core.errors import ModelError
from multitune.core.records import PackRow
from multitune.mixture.packing import pack_rows
from multitune.model import attention
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.device import pick_device, pick_dtype

# PEFT asks transformers by a name on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
NAMES = ("tweets", "news")
Gradients = dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]]


def trained_bank(backbone: Backbone, fill) -> AdapterBank:
    bank = AdapterBank(backbone)
    for name in NAMES:
        fill(bank, name)
        bank.train(name)
    return bank


def packed(bank: AdapterBank, rows: list[PackRow], pack_tokens: int, share: bool) -> float:
    """Weighted loss of all rows, with its gradients left in the bank."""
    total = 0.0
    for pack in pack_rows(rows, pack_tokens, share):
        with bank.route(pack.slices, len(pack)):
            losses = bank.backbone.losses(pack)
        loss = (losses * torch.from_numpy(pack.target_weight)).sum()
        loss.backward()
        total += loss.item()
    return total


def alone(model, bank: AdapterBank, rows: list[PackRow]) -> tuple[float, Gradients]:
    """The same by PEFT's layers and the model's own attention, every row by itself."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(bank.linear_names), lora_dropout=0.0)
    peft = get_peft_model(model, config, adapter_name=NAMES[0])
    peft.add_adapter(NAMES[1], config)
    layers = {m: peft.base_model.model.get_submodule(m) for m in bank.linear_names}
    with torch.no_grad():
        for name in NAMES:
            for module, (a, b) in bank[name].tensors().items():
                layers[module].lora_A[name].weight.copy_(a)
                layers[module].lora_B[name].weight.copy_(b)
    total = 0.0
    for row in rows:
        peft.set_adapter(NAMES[row.adapter])
        tokens = torch.from_numpy(row.segments.tokens.astype(np.int64))
        logits = peft(input_ids=tokens[None, :-1], use_cache=False).logits[0, len(row.segments.prompt) - 1 :]
        loss = row.weight * F.cross_entropy(logits, tokens[len(row.segments.prompt) :], reduction="sum")
        loss.backward()
        total += loss.item()
    return total, {
        name: {m: (la.lora_A[name].weight.grad, la.lora_B[name].weight.grad) for m, la in layers.items()}
        for name in NAMES
    }


def agree(bank: AdapterBank, expected: Gradients, worst: float = 1e-4) -> bool:
    """Whether every A and B has the expected gradient, each relative to its own largest value."""
    pairs = [
        (found, wanted)
        for name in NAMES
        for slot in bank[name].slots
        for found, wanted in zip(slot.views(bank[name].grad), expected[name][slot.module], strict=True)
    ]
    return all(float((f - w).abs().max()) <= worst * float(w.abs().max()) for f, w in pairs)


@pytest.mark.parametrize("family", ["smollm", "mistral", "gemma2", "mamba", "recurrent_gemma"])
def test_loss_and_gradients_of_packs_are_those_of_rows_alone(wrapped, tiny, fill, draw_rows, family):
    bank = trained_bank(wrapped(family), fill)
    rows = draw_rows((0, 1))
    expected, gradients = alone(tiny(family), bank, rows)
    assert packed(bank, rows, 10_000, bank.backbone.shares_prefixes) == pytest.approx(expected, rel=1e-5)
    assert agree(bank, gradients)


@pytest.mark.parametrize("chunk", [1, 5])
def test_gradients_do_not_depend_on_the_chunks(wrapped, tiny, fill, draw_rows, monkeypatch, chunk):
    bank = trained_bank(wrapped(), fill)
    rows = draw_rows((0, 1))
    _, gradients = alone(tiny("smollm"), bank, rows)
    monkeypatch.setattr(attention, "CHUNK", chunk)
    packed(bank, rows, 10_000, share=True)
    assert agree(bank, gradients)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("pack_tokens", [1, 40, 4096])
def test_loss_and_gradients_do_not_depend_on_the_cut(wrapped, fill, draw_rows, pack_tokens, share):
    bank, whole = trained_bank(wrapped(), fill), trained_bank(wrapped(), fill)
    rows = draw_rows((0, 1))
    loss = packed(bank, rows, pack_tokens, share)
    assert loss == pytest.approx(packed(whole, rows, 100_000, share=True), rel=1e-5)
    assert agree(bank, {n: {s.module: s.views(whole[n].grad) for s in whole[n].slots} for n in NAMES})


def test_double_precision_agrees_further(wrapped, fill, draw_rows):
    losses = []
    for share in (True, False):
        bank = AdapterBank(wrapped("smollm", torch.float64))
        for name in NAMES:
            fill(bank, name)
        with torch.no_grad():
            by_row = np.zeros(12)
            for pack in pack_rows(draw_rows((0, 1)), 10_000, share):
                with bank.route(pack.slices, len(pack)):
                    found = bank.backbone.losses(pack).double().numpy()
                np.add.at(by_row, np.asarray(pack.rows)[pack.target_row], found)
        losses.append(by_row)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_convolution_is_found_out_in_half_precision(wrapped):
    assert not wrapped("lfm2", torch.bfloat16).shares_prefixes


def test_a_bidirectional_model_is_refused(wrapped):
    with pytest.raises(ModelError, match="not a causal language model: BertLMHeadModel"):
        wrapped("bert")


def saved(model, folder: Path) -> BaseRef:
    model.save_pretrained(folder)
    return BaseRef(folder.name, str(folder))


@pytest.fixture
def llama(tiny, tmp_path) -> BaseRef:
    return saved(tiny("llama3"), tmp_path / "llama")


def test_the_fingerprint_is_the_same_in_any_compute_type_and_with_adapters(llama, fill):
    backbones = [load_backbone(llama, "cpu", dtype) for dtype in ("float32", "bfloat16")]
    before = backbones[0].fingerprint
    fill(AdapterBank(backbones[0]), "a")
    assert before == backbones[0].fingerprint == backbones[1].fingerprint


def test_the_fingerprint_changes_with_any_layer(llama):
    backbone = load_backbone(llama, "cpu", "float32")
    before = backbone.fingerprint
    backbone.model.model.layers[1].mlp.down_proj.weight.data[0, :8] += 0.1
    assert backbone.fingerprint != before


def test_all_weights_of_a_loaded_base_are_frozen(llama):
    assert not any(p.requires_grad for p in load_backbone(llama, "cpu", "float32").model.parameters())


def test_an_encoder_is_refused(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    with pytest.raises(ModelError, match="not a causal language model"):
        load_backbone(saved(BertForMaskedLM(config), tmp_path / "bert"), "cpu", "float32")


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_with_a_decoder_is_refused(tmp_path, kind):
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    sizes = {"d_model": 32, "num_layers": 1, "num_heads": 4, "d_ff": 48, "d_kv": 8, "vocab_size": 96}
    if kind == "bart":
        sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 96}
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, **sizes))
    with pytest.raises(ModelError, match="encoder-decoder model, not a causal language model"):
        load_backbone(saved(model, tmp_path / kind), "cpu", "float32")


def test_a_model_without_its_language_head_is_refused(tmp_path, tiny):
    with pytest.raises(ModelError, match=r"has no lm_head\.weight"):
        load_backbone(saved(tiny("llama3").model, tmp_path / "headless"), "cpu", "float32")


def truncate(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 5000)


def forget_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def shrink_vocabulary(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 50}))


@pytest.mark.parametrize("damage", [truncate, forget_config, shrink_vocabulary])
def test_a_damaged_folder_is_told_by_its_name(llama, damage):
    damage(Path(llama.location))
    with pytest.raises(ModelError, match="base: 'llama' could not be loaded"):
        load_backbone(llama, "cpu", "float32")


def test_a_hub_id_that_cannot_be_had_is_told_by_its_name():
    with pytest.raises(ModelError, match="base: 'no/such-model' could not be loaded"):
        load_backbone(BaseRef("no/such-model", "no/such-model"), "cpu", "float32")


def test_a_device_that_is_not_there_names_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"device is 'cuda'.*cpu"):
        pick_device("cuda")


def test_a_compute_type_asked_for_is_taken():
    assert pick_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
