"""A GGUF adapter adds to llama.cpp's weights what merging adds to ours, whatever the rows' order and the scales."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers import GPTNeoXConfig
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from multitune.core.errors import AdapterError, ModelError
from multitune.model.bank import AdapterBank
from multitune.model.files import LoraPair, merge_into_base, read_pairs, save_adapter
from multitune.model.gguf_lora import PERMUTED, write_gguf_lora

# llama.cpp's names of the linear layers, written out: the file must not depend on how they are looked up.
NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "qkv_proj": "attn_qkv",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "gate_up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
FAMILIES = ["smollm", "llama3", "mistral", "qwen3", "gemma2", "gemma3", "phi3"]


class _NoTokenizer:
    def save_pretrained(self, folder: Path) -> None:
        pass


def gguf_name(module: str) -> str:
    _, _, layer, _, linear = module.split(".")
    return f"blk.{layer}.{NAMES[linear]}.weight"


def added(path: Path) -> dict[str, np.ndarray]:
    """GGUF name -> what llama.cpp adds to that weight: alpha / rank * B A."""
    reader = GGUFReader(path)
    alpha = reader.fields["adapter.lora.alpha"].contents()
    parts = {tensor.name: tensor.data for tensor in reader.tensors}
    pairs = {name.removesuffix(".lora_a"): a for name, a in parts.items() if name.endswith(".lora_a")}
    return {name: alpha / len(a) * parts[f"{name}.lora_b"] @ a for name, a in pairs.items()}


def our_rows(delta: np.ndarray, module: str, config) -> np.ndarray:
    """llama.cpp's rows in our order, by the code with which transformers reads GGUF."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    ending = module.rpartition(".")[2]
    if config.model_type not in PERMUTED or ending not in heads:
        return delta
    return LlamaTensorProcessor()._reverse_permute_weights(delta, heads[ending], heads[ending])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ranks", ["alike", "different"])
def test_it_adds_to_the_base_what_merging_adds(wrapped, fill, tmp_path, family, ranks):
    bank = AdapterBank(wrapped(family))
    if ranks == "alike":
        save_adapter(fill(bank, "a"), tmp_path / "a", bank, {})
    else:
        different_ranks(bank, tmp_path / "a")
    model = bank.backbone.model
    write_gguf_lora(read_pairs(tmp_path / "a"), model.config, tmp_path / "a.gguf")
    merge_into_base(bank, "a", tmp_path / "merged", _NoTokenizer())
    merged = type(model).from_pretrained(tmp_path / "merged").state_dict()
    found, base = added(tmp_path / "a.gguf"), model.state_dict()
    assert found.keys() == {gguf_name(slot.module) for slot in bank["a"].slots}
    for slot in bank["a"].slots:
        delta = our_rows(found[gguf_name(slot.module)], slot.module, model.config)
        key = f"{slot.module}.weight"
        torch.testing.assert_close(base[key] + torch.from_numpy(delta.copy()), merged[key], atol=1e-5, rtol=1e-5)


def different_ranks(bank: AdapterBank, folder: Path) -> None:
    """An adapter 'a' whose layers have ranks 1, 2, 3, … and scales that follow none of them."""
    from multitune.model.bank import lay_out

    linears = dict(bank.backbone.model.named_modules())
    shapes = {name: (linears[name].in_features, linears[name].out_features) for name in bank.linear_names}
    slots = lay_out(shapes, {name: (1 + i, 0.3 + 0.7 * i) for i, name in enumerate(shapes)})
    weights = torch.randn(slots[-1].start + slots[-1].size, generator=torch.Generator().manual_seed(0)) * 0.1
    save_adapter(bank.attach("a", slots, weights), folder, bank, {})


def test_the_file_says_what_it_is(wrapped, fill, tmp_path):
    bank = AdapterBank(wrapped("mistral"))
    save_adapter(fill(bank, "a"), tmp_path / "a", bank, {})
    write_gguf_lora(read_pairs(tmp_path / "a"), bank.backbone.model.config, tmp_path / "a.gguf")
    fields = GGUFReader(tmp_path / "a.gguf").fields
    said = {key: fields[key].contents() for key in fields if not key.startswith("GGUF.")}
    assert said == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }


def test_an_adapter_scaled_by_zero_adds_nothing(wrapped, tmp_path):
    pair = {"model.layers.0.self_attn.v_proj": LoraPair(torch.ones(2, 32), torch.ones(16, 2), 0.0)}
    write_gguf_lora(pair, wrapped("llama3").model.config, tmp_path / "a.gguf")
    assert not added(tmp_path / "a.gguf")["blk.0.attn_v.weight"].any()


def test_another_architecture_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ModelError, match=r"'gpt_neox' cannot be converted\. All: gemma, .*Use --as merged"):
        write_gguf_lora({}, GPTNeoXConfig(), tmp_path / "a.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_layer_without_a_name_there_is_refused(wrapped, tmp_path):
    pair = {"memory": LoraPair(torch.ones(2, 32), torch.ones(32, 2), 1.0)}
    with pytest.raises(AdapterError, match="llama has no layer 'memory'"):
        write_gguf_lora(pair, wrapped("llama3").model.config, tmp_path / "a.gguf")
    assert list(tmp_path.iterdir()) == []
