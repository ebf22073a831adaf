"""Laws of the likelihood: equal to autograd's own formula, in value and gradient, however the nodes are cut."""

import pytest
import torch

from multitune.model import likelihood

VOCAB = 11
NODE = torch.tensor([0, 0, 1, 3, 3, 3])  # two branch points; node 2 predicts nothing
TOKEN = torch.tensor([4, 9, 0, 2, 2, 10])
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.1, 0.3, 0.0])


def logits(dtype: torch.dtype, spread: float = 3.0) -> torch.Tensor:
    values = torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(0)) * spread
    return values.to(dtype).requires_grad_()


def plain(values: torch.Tensor) -> torch.Tensor:
    values = values.float()
    return torch.logsumexp(values, dim=-1)[NODE] - values[NODE, TOKEN]


@pytest.fixture(params=[1, 3, 16])
def nodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(likelihood, "NODES", request.param)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_are_those_of_the_formula(nodes, dtype):
    values = logits(dtype)
    assert torch.allclose(likelihood.node_losses(values, NODE, TOKEN), plain(values), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_the_formula(nodes, dtype):
    values = logits(dtype)
    found = torch.autograd.grad((likelihood.node_losses(values, NODE, TOKEN) * WEIGHT).sum(), values)[0]
    expected = torch.autograd.grad((plain(values) * WEIGHT).sum(), values)[0]
    # One rounding to the type of the logits is all that may lie between them.
    assert torch.allclose(found.float(), expected.float(), rtol=max(1e-5, 2 * torch.finfo(dtype).eps), atol=1e-6)


def test_logits_beyond_the_range_of_exp_give_finite_losses():
    values = logits(torch.float32, spread=1e4)
    found = likelihood.node_losses(values, NODE, TOKEN)
    assert bool(found.isfinite().all()) and bool(torch.autograd.grad(found.sum(), values)[0].isfinite().all())
