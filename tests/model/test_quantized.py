"""Laws of quantized bases: what they compute has the bits of a plain base with the weights that they stand for."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from multitune.core.bases import BaseRef
from multitune.core.errors import MissingExtraError, ModelError
from multitune.model import quantized_loading
from multitune.model.backbone import Backbone, load_backbone, wrap_model
from multitune.model.bank import AdapterBank
from multitune.model.fingerprint import FIRST_VALUES
from multitune.model.lora import LoraLinear, Routes
from multitune.model.low_rank import LowRank
from multitune.model.quantized import BYTES, QuantizedLinear, quantize, quantized_weights

KINDS = ("nf4", "int8")
FAMILIES = ["smollm", "qwen3", "gemma2", "phi3", "gpt_neox", "mamba", "recurrent_gemma", "qwen2_moe"]
# Relative error of weights of a normal distribution: NF4 as the paper has it, int8 by the largest value of a row.
ERRORS = {"nf4": (0.08, 0.11), "int8": (0.004, 0.012)}

Load = Callable[..., Backbone]


@pytest.fixture
def load(tiny: Callable[..., Any], tmp_path) -> Load:
    def load(family: str = "smollm", kind: str | None = None, dtype: str = "float32") -> Backbone:
        folder = tmp_path / family
        if not folder.is_dir():
            tiny(family).save_pretrained(folder)
        return load_backbone(BaseRef(family, str(folder)), "cpu", dtype, kind)

    return load


def twin(backbone: Backbone, plain: Backbone) -> Backbone:
    """A plain base with the weights that a quantized one stands for."""
    weights = dict(plain.model.named_parameters())
    with torch.no_grad():
        for name, weight in quantized_weights(backbone.model).items():
            weights[name].copy_(weight.whole())
    return plain


def trained(backbone: Backbone, fill: Callable[..., Any], targets: str = "all", names: str = "ab") -> AdapterBank:
    bank = AdapterBank(backbone)
    for name in names:
        fill(bank, name, targets=targets)
        bank.train(name)
    return bank


def learn(bank: AdapterBank, rows: Any, pack_tokens: int = 4096) -> tuple[float, list[torch.Tensor]]:
    """The loss of some rows, and the gradient of every adapter."""
    total = 0.0
    for pack in bank.backbone.pack(rows, pack_tokens):
        with bank.route(pack.slices, len(pack)):
            loss = bank.backbone.losses(pack).sum()
        loss.backward()
        total += loss.item()
    return total, [bank[name].grad for name in bank.names]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_comes_back_as_near_as_its_bits_allow(kind, dtype):
    weight = torch.randn(96, 192, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = quantize(weight, kind).whole()
    least, most = ERRORS[kind]
    assert found.dtype == dtype and found.shape == weight.shape
    assert least < float((found - weight).float().norm() / weight.float().norm()) < most


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_takes_the_bytes_that_the_estimate_counts(kind):
    weight = quantize(torch.randn(512, 512), kind)
    assert weight.stored == pytest.approx(512 * 512 * BYTES[kind], rel=0.01)


def test_nothing_of_the_whole_weight_stays_in_memory():
    weight = torch.randn(512, 512).to(torch.bfloat16)
    assert quantize(weight, "nf4").first_values.untyped_storage().nbytes() == 2 * FIRST_VALUES


def test_a_weight_of_zeros_stays_one():
    for kind in KINDS:
        assert not quantize(torch.zeros(4, 64), kind).whole().any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_weights_it_stands_for(load, draw_rows, family, kind):
    backbone = load(family, kind)
    plain = twin(backbone, load(family))
    assert backbone.shares_prefixes == plain.shares_prefixes
    (pack,) = backbone.pack(draw_rows((0, 1)), 4096)
    with torch.no_grad():
        assert torch.equal(backbone.logits(pack)[0], plain.logits(pack)[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", ["all", "attention"])
def test_loss_and_gradients_are_those_of_the_weights_it_stands_for(load, fill, draw_rows, kind, dtype, targets):
    backbone = load("smollm", kind, dtype)
    plain = trained(twin(backbone, load("smollm", None, dtype)), fill, targets)
    bank, rows = trained(backbone, fill, targets), draw_rows((0, 1))
    loss, gradients = learn(bank, rows)
    expected, wanted = learn(plain, rows)
    assert loss == expected and all(map(torch.equal, gradients, wanted))
    assert all(gradient.any() for gradient in gradients)


def test_gradients_do_not_depend_on_recomputed_layers(load, fill, draw_rows):
    kept, again = trained(load(kind="nf4"), fill), trained(load(kind="nf4"), fill)
    again.recompute_layers()
    rows = draw_rows((0, 1))
    assert all(map(torch.equal, learn(kept, rows)[1], learn(again, rows)[1]))


@pytest.mark.parametrize("adapters", [1, 4])
def test_a_layer_gives_its_adapters_the_gradients_of_a_plain_one(adapters):
    weight, found = quantize(torch.randn(48, 64), "nf4"), []
    plain = nn.Linear(64, 48, bias=False).requires_grad_(False)
    plain.weight.copy_(weight.whole())
    slices = tuple((number, 32 * number, 32 * (number + 1)) for number in range(adapters))
    for frozen in (QuantizedLinear(weight, None), plain):
        layer = LoraLinear(frozen, Routes(slices, 32 * adapters))
        noise = torch.Generator().manual_seed(5)
        for number in range(adapters):
            a, b = torch.randn(4, 64, generator=noise), torch.randn(48, 4, generator=noise)
            layer.pairs[number] = (LowRank(a, b, 0.5, torch.zeros_like(a), torch.zeros_like(b)),)
        x = torch.randn(1, 32 * adapters, 64, generator=noise, requires_grad=True)
        out = layer(x)
        out.backward(torch.randn(out.shape, generator=noise))
        grads = [grad for (pair,) in layer.pairs.values() for grad in (pair.grad_a, pair.grad_b)]
        found.append([out.detach(), x.grad, *grads])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("targets", ["all", "attention"])
def test_nothing_keeps_a_whole_weight_for_the_way_back(load, fill, draw_rows, targets):
    bank = trained(load(kind="nf4"), fill, targets)
    shapes = {tuple(weight.shape) for weight in quantized_weights(bank.backbone.model).values()}
    kept: list[tuple[int, ...]] = []
    (pack,) = bank.backbone.pack(draw_rows((0, 1)), 4096)
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda one: (kept.append(tuple(one.shape)), one)[1], lambda one: one),
        bank.route(pack.slices, len(pack)),
    ):
        bank.backbone.losses(pack)
    assert kept and not {shape for shape in kept if shape in shapes or shape[::-1] in shapes}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_base(load, kind):
    plain, quantized = load(), load(kind=kind)
    assert quantized.fingerprint == plain.fingerprint and quantized.parameters == plain.parameters
    bank = AdapterBank(quantized)
    bank.create("a", 4, 8.0, "all", seed=0)
    assert quantized.fingerprint == plain.fingerprint and quantized.parameters == plain.parameters


def test_another_base_has_another_fingerprint(load, tiny, tmp_path):
    before = load(kind="nf4").fingerprint
    model = tiny("smollm")
    model.model.layers[1].mlp.down_proj.weight.data[0, :8] += 0.1
    model.save_pretrained(tmp_path / "other")
    assert load_backbone(BaseRef("other", str(tmp_path / "other")), "cpu", "float32", "nf4").fingerprint != before


def test_just_the_layers_that_adapters_can_act_on_are_quantized(load):
    plain, quantized = load("qwen3"), load("qwen3", "int8")
    names = AdapterBank(plain).linear_names
    assert set(quantized_weights(quantized.model)) == {f"{name}.weight" for name in names}
    assert AdapterBank(quantized).linear_names == names
    assert torch.equal(quantized.model.lm_head.weight, plain.model.lm_head.weight)


def test_a_base_with_missing_weights_is_refused(tiny, tmp_path):
    tiny("llama3").model.save_pretrained(tmp_path / "headless")
    with pytest.raises(ModelError, match=r"has no lm_head\.weight"):
        load_backbone(BaseRef("headless", str(tmp_path / "headless")), "cpu", "float32", "nf4")


def test_a_missing_layer_is_not_random(tiny, tmp_path):
    model = tiny("llama3")
    state = {name: weight for name, weight in model.state_dict().items() if not name.endswith("1.mlp.up_proj.weight")}
    model.save_pretrained(tmp_path / "part", state_dict=state)
    with pytest.raises(ModelError, match=r"has no model\.layers\.1\.mlp\.up_proj\.weight"):
        load_backbone(BaseRef("part", str(tmp_path / "part")), "cpu", "float32", "nf4")


def test_without_bitsandbytes_the_extra_is_named(load, monkeypatch):
    load()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"quantization: needs bitsandbytes, .*'multitune\[quantize\]'"):
        load(kind="nf4")


@pytest.mark.parametrize("kind", [None, "nf4"])
def test_a_base_that_was_quantized_before_is_refused(tiny, tmp_path, kind):
    model = tiny("llama3")
    model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"was saved quantized \(bitsandbytes\), .* Give the base that"):
        load_backbone(BaseRef("quantized", str(tmp_path)), "cpu", "float32", kind)


def test_a_model_that_reads_weights_past_its_layers_is_refused(load):
    backbone = load(kind="nf4")
    backbone.model.model.layers[0].mlp.up_proj.register_forward_hook(lambda layer, _, out: out + layer.weight.T.sum())
    with pytest.raises(ModelError, match=r"quantization: LlamaForCausalLM cannot compute .* 'T'.* Remove"):
        wrap_model(backbone.model, backbone.ref)


def test_a_copy_computes_the_same(load, draw_rows):
    backbone = load(kind="nf4")
    copied = Backbone(copy.deepcopy(backbone.model), backbone.ref, backbone.device, backbone.dtype)
    (pack,) = backbone.pack(draw_rows((0, 1)), 4096)
    with torch.no_grad():
        assert torch.equal(backbone.logits(pack)[0], copied.logits(pack)[0])


def test_why_a_weight_could_not_be_quantized_is_told(load, monkeypatch):
    load()

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("the card has no room left")

    monkeypatch.setattr(quantized_loading, "quantize", full)
    with pytest.raises(ModelError, match=r"could not be loaded .*: the card has no room left"):
        load(kind="nf4")
