"""Laws of the norm: values and gradients of the formula, and no module replaced that computes something else."""

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from multitune.model.norm import RootMeanSquare, install_norms

WIDTH = 12


def plain(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps))


@pytest.fixture
def weight() -> nn.Parameter:
    return nn.Parameter(torch.linspace(0.5, 2, WIDTH, dtype=torch.float64))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(
        2, 3, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )


def test_values_and_gradients_are_those_of_the_formula(x, weight):
    found, expected = RootMeanSquare(weight, 1e-5)(x), plain(x, weight, 1e-5)
    seed = torch.randn_like(expected)
    assert torch.allclose(found, expected)
    pairs = zip(*(torch.autograd.grad((out * seed).sum(), (x, weight)) for out in (found, expected)), strict=True)
    assert all(torch.allclose(ours, theirs) for ours, theirs in pairs)


def test_a_frozen_weight_gets_no_gradient(x, weight):
    weight.requires_grad_(False)
    RootMeanSquare(weight, 1e-5)(x).sum().backward()
    assert x.grad is not None and weight.grad is None


def test_bfloat16_gradients_are_as_near_to_the_truth_as_those_of_llamas_own(x, weight):
    half, truth = x.detach().bfloat16().requires_grad_(), x.detach().bfloat16().double().requires_grad_()
    theirs = LlamaRMSNorm(WIDTH, 1e-5).bfloat16()
    ours = RootMeanSquare(theirs.weight, 1e-5)
    seed = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad((plain(truth, theirs.weight.double(), 1e-5) * seed).sum(), truth)[0]

    def error(norm: nn.Module) -> float:
        return float((torch.autograd.grad((norm(half) * seed.bfloat16()).sum(), half)[0].double() - expected).norm())

    assert error(ours) <= 1.5 * error(theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_llamas_norm_is_replaced_and_keeps_its_weight(dtype):
    model = nn.Sequential(LlamaRMSNorm(WIDTH, 1e-6)).to(dtype)
    weight = model[0].weight
    assert install_norms(model) == 1
    assert isinstance(model[0], RootMeanSquare) and model[0].weight is weight


def test_a_norm_that_adds_one_to_its_weight_is_left_alone():
    model = nn.Sequential(GemmaRMSNorm(WIDTH))
    nn.init.uniform_(model[0].weight)
    assert install_norms(model) == 0 and isinstance(model[0], GemmaRMSNorm)
