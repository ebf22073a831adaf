"""Laws of the low-rank layer: each slice gets just its adapter, and gradients are those of the formula."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from multitune.core.errors import ModelError
from multitune.model.lora import LoraLinear, Routes, replace_layers
from multitune.model.low_rank import LowRank

INPUTS, OUTPUTS, RANK = 6, 5, 2
SLICES = ((0, 0, 4), (2, 6, 9))  # tokens 4, 5 and 9 belong to no adapter


def pair(seed: int, scale: float = 0.5) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(RANK, INPUTS, generator=generator)
    b = torch.randn(OUTPUTS, RANK, generator=generator)
    return LowRank(a, b, scale, torch.zeros_like(a), torch.zeros_like(b))


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def layer(request: pytest.FixtureRequest) -> LoraLinear:
    torch.manual_seed(0)
    linear = torch.nn.Linear(INPUTS, OUTPUTS, bias=request.param).requires_grad_(False)
    routes = Routes(SLICES, 10)
    layer = LoraLinear(linear, routes)
    layer.pairs = {0: (pair(1),), 1: (pair(2),), 2: (pair(3, scale=2.0),)}
    return layer


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1, 10, INPUTS, generator=torch.Generator().manual_seed(4), requires_grad=True)


def formula(layer: LoraLinear, x: torch.Tensor, weights: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    out = [F.linear(token, layer.weight, layer.bias) for token in x[0]]
    for adapter, start, stop in SLICES:
        a, b = weights[adapter]
        for place in range(start, stop):
            out[place] = out[place] + layer.pairs[adapter][0].scale * (b @ (a @ x[0, place]))
    return torch.stack(out)[None]


def copies(layer: LoraLinear) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    return {n: (p.a.clone().requires_grad_(), p.b.clone().requires_grad_()) for n, (p,) in layer.pairs.items()}


def test_the_output_is_that_of_the_formula(layer, x):
    assert torch.allclose(layer(x), formula(layer, x, copies(layer)), atol=1e-6)


def test_a_token_that_no_slice_names_gets_the_base_bit_for_bit(layer, x):
    assert torch.equal(layer(x)[0, [4, 5, 9]], F.linear(x, layer.weight, layer.bias)[0, [4, 5, 9]])


def test_an_adapter_that_the_layer_lacks_leaves_the_base(layer, x):
    layer.pairs.clear()
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_the_gradient_of_the_input_is_that_of_the_formula(layer, x):
    found = torch.autograd.grad(layer(x).square().sum(), x)[0]
    assert torch.allclose(found, torch.autograd.grad(formula(layer, x, copies(layer)).square().sum(), x)[0], atol=1e-4)


def test_the_gradients_of_a_and_b_are_those_of_the_formula(layer, x):
    weights = copies(layer)
    formula(layer, x, weights).square().sum().backward()
    layer(x).square().sum().backward()
    for adapter in (0, 2):
        a, b = weights[adapter]
        assert torch.allclose(layer.pairs[adapter][0].grad_a, a.grad, atol=1e-4)
        assert torch.allclose(layer.pairs[adapter][0].grad_b, b.grad, atol=1e-4)


def test_an_adapter_without_tokens_gets_no_gradient(layer, x):
    layer(x).square().sum().backward()
    assert not layer.pairs[1][0].grad_a.any() and not layer.pairs[1][0].grad_b.any()


def test_gradients_add_up_over_backward_passes(layer, x):
    layer(x).square().sum().backward()
    once = layer.pairs[0][0].grad_a.clone()
    layer(x).square().sum().backward()
    assert torch.allclose(layer.pairs[0][0].grad_a, 2 * once)


def test_a_unit_of_a_batch_is_a_row_of_it(layer):
    x = torch.randn(2, 3, INPUTS, generator=torch.Generator().manual_seed(5))
    layer._routes.slices, layer._routes.total = ((1, 1, 2),), 2
    found, pair = layer(x), layer.pairs[1][0]
    assert torch.equal(found[0], F.linear(x, layer.weight, layer.bias)[0])
    assert torch.allclose(
        found[1], F.linear(x[1], layer.weight, layer.bias) + pair.scale * x[1] @ pair.a.T @ pair.b.T, atol=1e-5
    )


def test_a_layer_that_sees_only_some_of_the_tokens_is_refused(layer, x):
    with pytest.raises(ModelError, match=r"got 7 tokens of 10.*lora.targets: attention"):
        layer(x[:, :7])


def test_slices_of_tokens_become_slices_of_rows():
    routes = Routes(((0, 0, 7), (3, 7, 9)), 9)
    with routes.by_row(np.array([0, 4, 7]), 9):
        assert (routes.slices, routes.total) == (((0, 0, 2), (3, 2, 3)), 3)
    assert (routes.slices, routes.total) == (((0, 0, 7), (3, 7, 9)), 9)


def test_an_adapter_for_the_whole_batch_stays_one_by_row():
    routes = Routes(((5, 0, 1),), 1)
    with routes.by_row(np.array([0, 4, 7]), 9):
        assert (routes.slices, routes.total) == (((5, 0, 3),), 3)


def test_routes_come_back_after_an_error():
    routes = Routes()
    with pytest.raises(KeyError), routes.over(((0, 0, 1),), 4):
        raise KeyError
    assert (routes.slices, routes.total) == ((), 1)


def test_installing_keeps_the_weights_as_the_same_objects():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    weight = model[0].weight
    layers = {"0": LoraLinear(model[0], Routes())}
    replace_layers(model, layers)
    assert model[0] is layers["0"] and model[0].weight is weight and type(model[1]) is torch.nn.Linear


MANY = ((0, 0, 64), (2, 64, 96), (1, 96, 192))  # without gaps, in multiples of 32: one batched product serves all


@pytest.fixture
def many(layer) -> LoraLinear:
    layer.pairs = {0: (pair(1),), 1: (pair(2),), 2: (pair(3),)}
    layer._routes.slices, layer._routes.total = MANY, 192
    return layer


def one_by_one(layer: LoraLinear, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Output and gradients where each slice is a pass of its own."""
    out, grad = [], []
    for route in MANY:
        part = x[:, route[1] : route[2]].detach().requires_grad_()
        layer._routes.slices, layer._routes.total = ((route[0], 0, part.shape[1]),), part.shape[1]
        out.append(layer(part))
        grad.append(torch.autograd.grad(out[-1].square().sum(), part)[0])
    layer._routes.slices, layer._routes.total = MANY, 192
    return torch.cat(out, 1).detach(), torch.cat(grad, 1)


def test_many_adapters_in_blocks_come_out_as_each_in_a_pass_of_its_own(many):
    x = torch.randn(1, 192, INPUTS, generator=torch.Generator().manual_seed(6), requires_grad=True)
    expected, expected_grad = one_by_one(many, x)
    gradients = {n: (p.grad_a.clone(), p.grad_b.clone()) for n, (p,) in many.pairs.items()}
    for (p,) in many.pairs.values():
        p.grad_a.zero_(), p.grad_b.zero_()
    found = many(x)
    assert "BlockedLinear" in type(found.grad_fn).__name__
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(found.square().sum(), x)[0], expected_grad, atol=1e-4)
    for n, (grad_a, grad_b) in gradients.items():
        assert torch.allclose(many.pairs[n][0].grad_a, grad_a, rtol=1e-4, atol=1e-3)
        assert torch.allclose(many.pairs[n][0].grad_b, grad_b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("change", ["gap", "scale", "rank", "frozen"])
def test_adapters_that_differ_are_taken_one_by_one(many, change):
    x = torch.randn(1, 192, INPUTS, generator=torch.Generator().manual_seed(6), requires_grad=True)
    odd = pair(3, scale=2.0 if change == "scale" else 0.5)
    if change == "rank":
        odd = LowRank(odd.a[:1], odd.b[:, :1], odd.scale, odd.grad_a[:1], odd.grad_b[:, :1])
    if change == "frozen":
        odd = LowRank(odd.a, odd.b, odd.scale)
    many.pairs[2] = (odd,)
    if change == "gap":
        many._routes.slices = ((0, 0, 32), *MANY[1:])
    assert "RoutedLinear" in type(many(x).grad_fn).__name__


def test_adapters_that_stand_on_one_are_taken_in_blocks_too(many):
    x = torch.randn(1, 192, INPUTS, generator=torch.Generator().manual_seed(6), requires_grad=True)
    below = pair(7)
    frozen = LowRank(below.a, below.b, below.scale)
    many.pairs = {number: (frozen, *pairs) for number, pairs in many.pairs.items()}
    expected, expected_grad = one_by_one(many, x)
    gradients = {n: (own.grad_a.clone(), own.grad_b.clone()) for n, (_, own) in many.pairs.items()}
    for _, own in many.pairs.values():
        own.grad_a.zero_(), own.grad_b.zero_()
    found = many(x)
    assert "BlockedLinear" in type(found.grad_fn).__name__
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(found.square().sum(), x)[0], expected_grad, atol=1e-3)
    for n, (grad_a, grad_b) in gradients.items():
        assert torch.allclose(many.pairs[n][1].grad_a, grad_a, rtol=1e-4, atol=1e-3)
        assert torch.allclose(many.pairs[n][1].grad_b, grad_b, rtol=1e-4, atol=1e-3)


def test_rows_move_the_parent_in_blocks_as_one_by_one(many):
    x = torch.randn(1, 192, INPUTS, generator=torch.Generator().manual_seed(6), requires_grad=True)
    below = pair(7)
    many.pairs = {number: (below, *pairs) for number, pairs in many.pairs.items()}
    one_by_one(many, x)
    expected = below.grad_a.clone(), below.grad_b.clone()
    below.grad_a.zero_(), below.grad_b.zero_()
    many(x).square().sum().backward()
    assert torch.allclose(below.grad_a, expected[0], rtol=1e-4, atol=1e-2)
    assert torch.allclose(below.grad_b, expected[1], rtol=1e-4, atol=1e-2)


def test_a_stack_beside_a_plain_adapter_is_taken_one_by_one(many):
    x = torch.randn(1, 192, INPUTS, generator=torch.Generator().manual_seed(6), requires_grad=True)
    many.pairs[2] = (pair(7), *many.pairs[2])
    assert "RoutedLinear" in type(many(x).grad_fn).__name__
