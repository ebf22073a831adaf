"""The low-rank layer: one frozen linear map, and any number of adapters each acting on its own slice of the tokens."""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from multitune.core.errors import ModelError

MANY = 3  # from so many adapters in a pack on, one batched product beats one product each
BLOCK = 32  # tokens; smaller blocks waste more than they save


@dataclass(slots=True)
class Routes:
    """Which adapter acts on which rows of the flattened input; rows named by no slice get the base alone.

    Counted in units of `total`: a pack counts tokens, a generated batch counts its rows, and the layer scales
    by tokens per unit. The layers of one bank share one object, which the bank sets before each forward pass.
    """

    slices: tuple[tuple[int, int, int], ...] = ()  # (adapter, first unit, past the last unit)
    total: int = 1

    @contextmanager
    def over(self, slices: tuple[tuple[int, int, int], ...], total: int) -> Generator[None]:
        """Within the block these slices hold, behind it those of before."""
        before = self.slices, self.total
        self.slices, self.total = slices, total
        try:
            yield
        finally:
            self.slices, self.total = before

    @contextmanager
    def by_row(self, starts: np.ndarray, tokens: int) -> Generator[None]:
        """Within the block, slices of a pack of `tokens` tokens count its rows, which begin at `starts`."""
        unit = tokens // self.total
        bounds = [np.searchsorted(starts, (first * unit, last * unit)) for _, first, last in self.slices]
        slices = [(s[0], int(first), int(last)) for s, (first, last) in zip(self.slices, bounds, strict=True)]
        with self.over(tuple(slices), len(starts)):
            yield


@dataclass(frozen=True, slots=True)
class LowRank:
    """One adapter's pair in one layer: y += scale * (x Aᵀ) Bᵀ. Gradients are added into `grad_a` and `grad_b`."""

    a: torch.Tensor  # (rank, in) compute type
    b: torch.Tensor  # (out, rank) compute type
    scale: float
    grad_a: torch.Tensor | None = None  # (rank, in) float32; None for an adapter that is not trained
    grad_b: torch.Tensor | None = None  # (out, rank) float32


@dataclass(slots=True)
class _Route:
    """A slice in tokens with the pair that acts on it and what its backward pass needs."""

    pair: LowRank
    start: int
    stop: int
    hidden: torch.Tensor = field(default_factory=lambda: torch.empty(0))


class LoraLinear(nn.Module):
    """A frozen nn.Linear that a bank's adapters can lean on.

    Source: Hu et al. 2021, arXiv:2106.09685; several adapters per batch as in S-LoRA, arXiv:2311.03285.
    """

    def __init__(self, linear: nn.Linear, routes: Routes) -> None:
        super().__init__()
        self.weight = linear.weight  # (out, in)
        self.bias = linear.bias  # (out,) or None
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.pairs: dict[int, tuple[LowRank, ...]] = {}  # an adapter's own, behind those it stands on
        self._routes = routes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        tokens = x.numel() // self.in_features
        routes = self._active(tokens)
        if not routes:
            return F.linear(x, self.weight, self.bias)
        if not torch.is_grad_enabled():
            return _plain(F.linear(x, self.weight, self.bias), x, routes)
        if size := _block_size(routes, tokens):
            blocks = _Blocks([r.pair for r in routes], [(r.stop - r.start) // size for r in routes])
            return _BlockedLinear.apply(x, self.weight, self.bias, blocks)  # pyright: ignore[reportReturnType]
        return _RoutedLinear.apply(x, self.weight, self.bias, routes)  # pyright: ignore[reportReturnType]

    def _active(self, tokens: int) -> list[_Route]:
        unit, rest = divmod(tokens, self._routes.total)
        if rest:
            raise ModelError(
                f"an adapted layer got {tokens} tokens of {self._routes.total}: it sits where the model picks tokens, "
                "such as in an expert, and one adapter per token cannot be told there. Set lora.targets: attention"
            )
        return [
            _Route(pair, start * unit, stop * unit)
            for adapter, start, stop in self._routes.slices
            for pair in self.pairs.get(adapter, ())
        ]


def _plain(out: torch.Tensor, x: torch.Tensor, routes: Sequence[_Route]) -> torch.Tensor:
    """Add each route's part to the frozen map's output, in place; nothing is kept for a way back."""
    flat_x, flat_out = x.reshape(-1, x.shape[-1]), out.view(-1, out.shape[-1])
    for route in routes:
        pair, part = route.pair, slice(route.start, route.stop)
        flat_out[part].addmm_(flat_x[part] @ pair.a.T, pair.b.T, alpha=pair.scale)
    return out


class _RoutedLinear(torch.autograd.Function):
    """One function for the frozen map and all pairs: no casts, no copies, and one gradient for the input.

    The pairs' gradients are accumulated in place, in float32, instead of travelling through autograd: thousands
    of small tensors would cost more than the products themselves.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, routes: list[_Route]
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (token, in)
        out = F.linear(flat, weight, bias)  # (token, out)
        for route in routes:
            pair = route.pair
            route.hidden = flat[route.start : route.stop] @ pair.a.T  # (slice, rank)
            out[route.start : route.stop].addmm_(route.hidden, pair.b.T, alpha=pair.scale)
        ctx.save_for_backward(flat, weight)
        ctx.routes = routes
        ctx.shape = x.shape
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        flat, weight = ctx.saved_tensors
        grad_out = grads[0].reshape(-1, weight.shape[0])  # (token, out)
        grad_in = grad_out @ weight  # (token, in)
        for route in ctx.routes:
            pair = route.pair
            part = grad_out[route.start : route.stop]
            grad_hidden = (part @ pair.b).mul_(pair.scale)  # (slice, rank)
            grad_in[route.start : route.stop].addmm_(grad_hidden, pair.a)
            if pair.grad_a is not None and pair.grad_b is not None:
                pair.grad_a.add_(grad_hidden.T @ flat[route.start : route.stop])
                pair.grad_b.add_(part.T @ route.hidden, alpha=pair.scale)
        return grad_in.view(ctx.shape), None, None, None


def _block_size(routes: Sequence[_Route], tokens: int) -> int:
    """Tokens of the largest blocks that each belong to one adapter; 0 where slices are better taken one by one."""
    pairs = [route.pair for route in routes]
    alike = all(pair.a.shape == pairs[0].a.shape and pair.scale == pairs[0].scale for pair in pairs)
    trained = {pair.grad_a is not None for pair in pairs}
    gapless = all(left.stop == right.start for left, right in pairwise(routes))
    whole = gapless and routes[0].start == 0 and routes[-1].stop == tokens
    if len(routes) < MANY or len(trained) > 1 or not (alike and whole):
        return 0
    size = math.gcd(*(route.stop for route in routes))
    return size if size >= BLOCK else 0


@dataclass(frozen=True, slots=True)
class _Blocks:
    """A pack cut into blocks of equal size, each of one adapter: all slices in one batched product."""

    pairs: Sequence[LowRank]
    counts: Sequence[int]  # blocks of each pair, one behind the other

    @property
    def scale(self) -> float:
        """The scale that all pairs share."""
        return self.pairs[0].scale

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """(token, width) to (block, token of block, width)."""
        return x.view(sum(self.counts), -1, x.shape[-1])

    def repeated(self, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
        """One matrix per pair as one per block: (block, row, column)."""
        return torch.stack([m for m, count in zip(matrices, self.counts, strict=True) for _ in range(count)])

    def add_up(self, grads: Sequence[torch.Tensor], parts: torch.Tensor, scale: float = 1.0) -> None:
        """Add to each pair's gradient the sum over its blocks of (block, row, column), in float32."""
        for grad, part in zip(grads, parts.split(list(self.counts)), strict=True):
            grad.add_(part.sum(0, dtype=torch.float32), alpha=scale)


class _BlockedLinear(torch.autograd.Function):
    """_RoutedLinear for many adapters: as many products as one adapter needs, whatever their number."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, blocks: _Blocks
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (token, in)
        out = F.linear(flat, weight, bias)  # (token, out)
        a, b = blocks.repeated([p.a for p in blocks.pairs]), blocks.repeated([p.b for p in blocks.pairs])
        hidden = blocks.cut(flat) @ a.transpose(1, 2)  # (block, token, rank)
        blocks.cut(out).baddbmm_(hidden, b.transpose(1, 2), alpha=blocks.scale)
        ctx.save_for_backward(flat, weight, hidden)
        ctx.blocks, ctx.shape = blocks, x.shape
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        flat, weight, hidden = ctx.saved_tensors
        blocks: _Blocks = ctx.blocks
        grad_out = grads[0].reshape(-1, weight.shape[0])  # (token, out)
        grad_in = grad_out @ weight  # (token, in)
        parts = blocks.cut(grad_out)
        grad_hidden = (parts @ blocks.repeated([p.b for p in blocks.pairs])).mul_(blocks.scale)  # (block, token, rank)
        blocks.cut(grad_in).baddbmm_(grad_hidden, blocks.repeated([p.a for p in blocks.pairs]))
        grads_a = [pair.grad_a for pair in blocks.pairs if pair.grad_a is not None]
        grads_b = [pair.grad_b for pair in blocks.pairs if pair.grad_b is not None]
        if grads_a:
            blocks.add_up(grads_a, grad_hidden.transpose(1, 2) @ blocks.cut(flat))
            blocks.add_up(grads_b, parts.transpose(1, 2) @ hidden, blocks.scale)
        return grad_in.view(ctx.shape), None, None, None


def install(model: nn.Module, targets: Mapping[str, nn.Linear], routes: Routes) -> dict[str, LoraLinear]:
    """Put a LoraLinear in the place of each target; the weights stay the same objects."""
    layers: dict[str, LoraLinear] = {}
    for name, linear in targets.items():
        parent, _, leaf = name.rpartition(".")
        layers[name] = LoraLinear(linear, routes)
        setattr(model.get_submodule(parent), leaf, layers[name])
    return layers
