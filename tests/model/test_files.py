"""Laws of adapter folders: PEFT's variants load exactly, a refusal or a failed write changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitune.core.errors import AdapterError, StorageError
from multitune.core.seals import CHANGED, sealed, unsealed
from multitune.model.bank import AdapterBank
from multitune.model.files import CARD, CONFIG, PREFIX, WEIGHTS, load_adapter, merge_into_base, read_card, save_adapter

# PEFT asks transformers by a name on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
IDS = torch.arange(20, 44).view(2, 12)
QUERY = f"{PREFIX}model.layers.0.self_attn.q_proj"


@pytest.fixture
def bank(wrapped) -> AdapterBank:
    return AdapterBank(wrapped("llama3"))


@pytest.fixture
def folder(bank, fill, tmp_path) -> Path:
    """A good adapter folder; the bank holds the same adapter as 'a'."""
    save_adapter(fill(bank, "a"), tmp_path / "good", bank, {"tasks": ["tweets"]})
    return tmp_path / "good"


def answers(bank: AdapterBank, name: str) -> torch.Tensor:
    with torch.no_grad(), bank.use(name) as model:
        return model(input_ids=IDS, use_cache=False).logits


def test_a_saved_adapter_comes_back_bit_for_bit(bank, folder):
    loaded = load_adapter(bank, folder, "b")
    assert torch.equal(loaded.weights, bank["a"].weights) and loaded.slots == bank["a"].slots


def test_the_card_names_base_and_spec(bank, folder):
    card = read_card(folder)
    assert card is not None
    assert (card.base, card.fingerprint, card.spec) == (
        "tiny-llama3",
        bank.backbone.fingerprint,
        {"tasks": ["tweets"]},
    )


def test_a_saved_adapter_of_some_layers_names_just_these(bank, fill, tmp_path):
    adapter = fill(bank, "a", targets=("layers.1.self_attn.q_proj", "up_proj"))
    save_adapter(adapter, tmp_path / "a", bank, {})
    named = json.loads((tmp_path / "a" / CONFIG).read_text())["target_modules"]
    assert sorted(named) == sorted(slot.module for slot in adapter.slots)


# --- adapters that PEFT wrote ---------------------------------------------------------------------------------------

PATTERNS = {"rank_pattern": {"down_proj": 2, "layers.0.self_attn.q_proj": 3}, "alpha_pattern": {"up_proj": 32}}


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        PATTERNS,
        PATTERNS | {"use_rslora": True},
        {"init_lora_weights": "gaussian"},
        {"target_modules": ["v_proj"], "layers_to_transform": [1]},
    ],
    ids=["rslora", "patterns", "both", "gaussian", "one layer"],
)
def test_variants_of_plain_lora_answer_as_in_peft(bank, tiny, tmp_path, options):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=8, **({"target_modules": "all-linear"} | options))
    peft = get_peft_model(tiny("llama3"), config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.1
    peft.save_pretrained(tmp_path)
    load_adapter(bank, tmp_path, "a")
    with torch.no_grad():
        expected = peft(input_ids=IDS, use_cache=False).logits
    assert torch.allclose(answers(bank, "a"), expected, atol=1e-4 * float(expected.abs().max()))


def test_ranks_and_scales_of_each_layer_survive_saving_for_peft(bank, tiny, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    config = LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, use_rslora=True, **PATTERNS
    )
    get_peft_model(tiny("llama3"), config).save_pretrained(tmp_path / "theirs")
    adapter = load_adapter(bank, tmp_path / "theirs", "a")
    save_adapter(adapter, tmp_path / "ours", bank, {})
    peft = PeftModel.from_pretrained(tiny("llama3"), tmp_path / "ours")
    with torch.no_grad():
        found = peft(input_ids=IDS, use_cache=False).logits
    assert torch.allclose(found, answers(bank, "a"), atol=1e-4 * float(found.abs().max()))


# --- refusals -------------------------------------------------------------------------------------------------------


def settings(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | changes))

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return rewrite


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content)


def only_a_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-10])


def other_base(folder: Path) -> None:
    card = unsealed(json.loads((folder / CARD).read_text()))
    (folder / CARD).write_text(json.dumps(sealed(card | {"fingerprint": "0" * 16, "base": "other"})))


def forged_card(folder: Path) -> None:
    (folder / CARD).write_text((folder / CARD).read_text().replace('"base": "', '"base": "an'))


def flipped(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-9] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def whole(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{QUERY}.lora_A.weight"] = torch.ones(4, 32, dtype=torch.int64)


def nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{QUERY}.lora_A.weight"][0, 0] = float("nan")


def wide(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{QUERY}.lora_A.weight"] = torch.zeros(4, 33)


def flat(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{QUERY}.lora_B.weight"] = torch.zeros(4)


def no_b(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[f"{QUERY}.lora_B.weight"]


def other_rank(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{QUERY}.lora_A.weight"] = torch.zeros(3, 32)


def unknown_module(tensors: dict[str, torch.Tensor]) -> None:
    for part in "AB":
        tensors[f"{PREFIX}model.layers.7.self_attn.q_proj.lora_{part}.weight"] = torch.zeros(4, 4)


def embedding(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{PREFIX}model.embed_tokens.lora_embedding_A"] = torch.zeros(4, 96)


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (only_a_pickle, "adapter_model.bin is a pickle"),
    "truncated weights": (truncated, "damaged"),
    "nan": (weights(nan), "holds NaN, infinity"),
    "dora": (settings(use_dora=True), "use_dora is True; only plain LoRA"),
    "bias": (settings(bias="all"), "bias is 'all'"),
    "extra modules": (settings(modules_to_save=["lm_head"]), "modules_to_save"),
    "pissa": (settings(init_lora_weights="pissa_niter_4"), "init_lora_weights is 'pissa_niter_4'"),
    "other kind": (settings(peft_type="IA3"), "peft_type is 'IA3'"),
    "flipped weight": (flipped, CHANGED),
    "whole numbers": (weights(whole), "infinity or whole numbers"),
    "other alpha": (
        settings(lora_alpha=9),
        rf"adapter_config\.json: {CHANGED}\. Undo that, or delete multitune\.json",
    ),
    "forged card": (forged_card, rf"multitune\.json: damaged \({CHANGED}"),
    "alpha beyond numbers": (settings(lora_alpha=10**400), r"the alpha of lora_alpha is 1000+, not a number"),
    "endless pattern": (settings(alpha_pattern={"x{99999999999}": 3}), "no regular expression"),
    "no alpha": (settings(lora_alpha=None), "the alpha of lora_alpha is None"),
    "alpha pattern": (settings(alpha_pattern={"(": 3}), "no regular expression"),
    "alphas of no module": (settings(alpha_pattern=[3]), "not alphas by module"),
    "other base": (other_base, "was trained on 'other'"),
    "wrong shape": (weights(wide), "33 -> 32 in the adapter but 32 -> 32 in the base"),
    "flat B": (weights(flat), "lacks a matching lora_A and lora_B"),
    "missing B": (weights(no_b), "lacks a matching lora_A and lora_B"),
    "ranks differ": (weights(other_rank), "lacks a matching lora_A and lora_B"),
    "unknown module": (weights(unknown_module), "no linear layer 'model.layers.7.self_attn.q_proj'"),
    "embedding": (weights(embedding), "not a plain LoRA weight of a linear layer"),
    "no weights": (weights(dict.clear), "holds no LoRA weights"),
    "bad json": (text(CONFIG, "{"), "not valid JSON"),
    "json list": (text(CONFIG, "[]"), "holds a list"),
    "bad card": (text(CARD, "[]"), "damaged"),
    "no config": (lambda folder: (folder / CONFIG).unlink(), "not an adapter folder"),
}


@pytest.mark.parametrize(("damage", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_folder_that_cannot_be_trusted_is_refused_and_the_bank_stays_as_it_was(bank, folder, damage, message):
    before = answers(bank, "a"), answers(bank, "base")
    damage(folder)
    with pytest.raises(AdapterError, match=message):
        load_adapter(bank, folder, "b")
    assert bank.names == ("a",)
    assert torch.equal(answers(bank, "a"), before[0]) and torch.equal(answers(bank, "base"), before[1])


def test_a_name_that_is_taken_is_refused(bank, folder):
    with pytest.raises(AdapterError, match="'a' is taken"):
        load_adapter(bank, folder, "a")


# --- writing --------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_folder_that_was_there(bank, folder, fill, monkeypatch):
    import safetensors.torch

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(StorageError, match="the disk is full"):
        save_adapter(fill(bank, "b"), folder, bank, {})
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["good"]


def test_saving_again_replaces_the_folder(bank, folder, fill):
    save_adapter(fill(bank, "b"), folder, bank, {})
    assert torch.equal(load_adapter(bank, folder, "c").weights, bank["b"].weights)


@pytest.mark.parametrize("family", ["llama3", "smollm", "phi3"])
@pytest.mark.parametrize("name", ["a", "base"])
def test_a_merged_model_answers_as_the_adapter_does(wrapped, fill, tmp_path, family, name):
    from transformers import AutoModelForCausalLM

    bank = AdapterBank(wrapped(family))
    fill(bank, "a")
    merge_into_base(bank, name, tmp_path / "merged", _NoTokenizer())
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        found = merged(input_ids=IDS, use_cache=False).logits
    assert torch.allclose(found, answers(bank, name), atol=1e-4 * float(found.abs().max()))


def test_merging_leaves_the_base_bit_for_bit(bank, folder, tmp_path):
    before = answers(bank, "base")
    merge_into_base(bank, "a", tmp_path / "merged", _NoTokenizer())
    assert torch.equal(answers(bank, "base"), before)


def test_a_merged_model_asks_for_no_attention_of_ours(bank, folder, tmp_path):
    merge_into_base(bank, "a", tmp_path / "merged", _NoTokenizer())
    assert "multitune" not in (tmp_path / "merged" / "config.json").read_text()


def test_an_adapter_of_the_base_does_not_fit_the_merged_model(bank, folder, tmp_path):
    from multitune.core.bases import BaseRef
    from multitune.model.backbone import load_backbone

    merge_into_base(bank, "a", tmp_path / "merged", _NoTokenizer())
    merged = AdapterBank(load_backbone(BaseRef("merged", str(tmp_path / "merged")), "cpu", "float32"))
    with pytest.raises(AdapterError, match="Load it on its own base"):
        load_adapter(merged, folder, "a")


class _NoTokenizer:
    """A tiny model has no tokenizer to save."""

    def save_pretrained(self, folder: Path) -> None:
        pass
