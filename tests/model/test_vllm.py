"""vLLM's rules: what PEFT and multitune write passes, and every breach is told with its remedy."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitune.model.bank import AdapterBank
from multitune.model.files import CARD, CONFIG, PREFIX, WEIGHTS, save_adapter
from multitune.model.vllm import check_vllm

QUERY = f"{PREFIX}model.layers.0.self_attn.q_proj"


@pytest.fixture
def base(tiny):
    return tiny("llama3").config


@pytest.fixture
def folder(wrapped, fill, tmp_path: Path) -> Path:
    bank = AdapterBank(wrapped("llama3"))
    save_adapter(fill(bank, "a"), tmp_path / "a", bank, {})
    return tmp_path / "a"


def set_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps(config | changes), "utf-8")
    (folder / CARD).unlink(missing_ok=True)  # it holds the seal of what was there


def add(folder: Path, **tensors: torch.Tensor) -> None:
    """Add tensors, or replace them; dots in their names stand as they are."""
    save_file(load_file(folder / WEIGHTS) | tensors, folder / WEIGHTS)


@pytest.mark.parametrize("family", ["llama3", "mistral", "qwen3", "gemma2", "gemma3", "phi3", "smollm", "opt"])
def test_what_we_save_passes(wrapped, fill, tmp_path, family):
    bank = AdapterBank(wrapped(family))
    save_adapter(fill(bank, "a"), tmp_path / "a", bank, {})
    found = check_vllm(tmp_path / "a", bank.backbone.model.config)
    assert (found.problems, found.max_lora_rank) == ((), 8)


@pytest.mark.parametrize(("rank", "needed"), [(1, 1), (2, 8), (16, 16), (24, 32), (320, 320), (321, 512)])
def test_the_rank_it_needs_is_the_smallest_that_vllm_takes(folder, base, rank, needed):
    save_file(
        {f"{QUERY}.lora_A.weight": torch.ones(rank, 32), f"{QUERY}.lora_B.weight": torch.ones(32, rank)},
        folder / WEIGHTS,
    )
    set_config(folder, r=rank)
    assert str(check_vllm(folder, base)) == f"vLLM loads it with: --enable-lora --max-lora-rank {needed}"


def test_a_rank_above_the_largest_has_no_setting(folder, base):
    add(folder, **{f"{QUERY}.lora_A.weight": torch.ones(600, 32), f"{QUERY}.lora_B.weight": torch.ones(32, 600)})
    found = check_vllm(folder, base)
    assert found.max_lora_rank == 0 and "rank 600: vLLM serves 512 at most" in str(found)


def test_ranks_that_differ_count_by_the_largest_and_pass_where_the_scale_is_one(folder, base):
    add(folder, **{f"{QUERY}.lora_A.weight": torch.ones(12, 32), f"{QUERY}.lora_B.weight": torch.ones(32, 12)})
    module = QUERY.removeprefix(PREFIX)
    set_config(folder, rank_pattern={module: 12}, alpha_pattern={module: 24})
    found = check_vllm(folder, base)
    assert (found.problems, found.max_lora_rank) == ((), 16)


def test_a_rank_pattern_that_changes_the_scale_is_told(folder, base):
    add(folder, **{f"{QUERY}.lora_A.weight": torch.ones(2, 32), f"{QUERY}.lora_B.weight": torch.ones(32, 2)})
    set_config(folder, rank_pattern={"layers.0.self_attn.q_proj": 2})
    (problem,) = check_vllm(folder, base).problems
    assert "q_proj is scaled by 4, but vLLM releases that ignore the patterns scale it by 2" in problem


SETTINGS = [
    ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\], but vLLM serves plain LoRA"),
    ({"use_dora": True}, "use_dora is True"),
    ({"bias": "all"}, "bias is 'all'"),
    ({"lora_bias": True}, "lora_bias is True"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
    ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
    ({"r": None}, "does not say r"),
    ({"target_modules": None}, "does not say target_modules"),
    ({"alpha_pattern": {"(": 3}}, "no regular expression"),
]


@pytest.mark.parametrize(("changes", "message"), SETTINGS, ids=[next(iter(changes)) for changes, _ in SETTINGS])
def test_a_setting_it_does_not_serve_is_told(folder, base, changes, message):
    set_config(folder, **changes)
    (problem,) = check_vllm(folder, base).problems
    assert re.search(message, problem)


def test_all_problems_are_told_at_once(folder, base):
    set_config(folder, use_dora=True, bias="all")
    add(folder, **{f"{PREFIX}lm_head.weight": torch.ones(96, 32)})
    (folder / "adapter_model.bin").write_bytes(b"")
    assert len(check_vllm(folder, base).problems) == 4


def test_a_pickle_beside_the_weights_is_told(folder, base):
    (folder / "adapter_model.bin").write_bytes(b"")
    assert check_vllm(folder, base).problems == (
        "adapter_model.bin is a pickle, which could run code. Delete it; adapter_model.safetensors is enough",
    )


def test_a_pickle_alone_is_no_adapter(folder, base):
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    assert "no adapter_model.safetensors. Save the adapter with safetensors" in str(check_vllm(folder, base))


def test_damaged_weights_are_told(folder, base):
    (folder / WEIGHTS).write_bytes(b"\0")
    assert "damaged" in str(check_vllm(folder, base))


def test_weights_that_are_none_are_told(folder, base):
    save_file({}, folder / WEIGHTS)
    assert "holds no LoRA weights" in str(check_vllm(folder, base))


def test_half_a_pair_is_told(folder, base):
    add(folder, **{f"{PREFIX}model.layers.0.mlp.extra.up_proj.lora_A.weight": torch.ones(4, 32)})
    assert "mlp.extra.up_proj lacks lora_A or lora_B" in str(check_vllm(folder, base))


def test_a_layer_it_packs_itself_must_come_in_its_parts(folder, base):
    packed = f"{PREFIX}model.layers.0.self_attn.qkv_proj"
    add(folder, **{f"{packed}.lora_A.weight": torch.ones(4, 32), f"{packed}.lora_B.weight": torch.ones(64, 4)})
    assert "layer 'qkv_proj' takes no adapter there" in str(check_vllm(folder, base))


@pytest.mark.parametrize(("words", "problems"), [(96, 0), (97, 1)])
def test_embeddings_must_have_the_words_of_the_base(folder, base, words, problems):
    embedding, head = f"{PREFIX}model.embed_tokens.lora_embedding_", f"{PREFIX}lm_head.lora_"
    add(
        folder,
        **{f"{embedding}A": torch.ones(4, words), f"{embedding}B": torch.ones(32, 4)},
        **{f"{head}A.weight": torch.ones(4, 32), f"{head}B.weight": torch.ones(96, 4)},
    )
    assert len(check_vllm(folder, base).problems) == problems


def test_a_family_it_serves_no_adapters_for_is_told(folder, tiny):
    assert "model type 'gpt_neox' is not known to take adapters" in str(check_vllm(folder, tiny("gpt_neox").config))


def test_a_tensor_of_another_shape_is_told(folder, base):
    add(folder, **{f"{QUERY}.lora_A.weight": torch.tensor(1.0)})
    assert "'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight' is not" in str(check_vllm(folder, base))
