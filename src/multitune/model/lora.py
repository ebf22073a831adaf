"""The low-rank layer: one frozen linear map, and any number of adapters each acting on its own slice of the tokens."""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from multitune.core.errors import ModelError
from multitune.model.low_rank import LowRank, MixedRows, Stacks
from multitune.model.quantized import QuantizedLinear, Weight, frozen_linear, whole

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
    mixed: MixedRows | None = None  # instead of slices: few rows of many adapters, for which no gradient is asked

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


@dataclass(slots=True)
class _Route:
    """A slice in tokens with the pair that acts on it and what its backward pass needs."""

    pair: LowRank
    start: int
    stop: int
    hidden: torch.Tensor = field(default_factory=lambda: torch.empty(0))


class LoraLinear(nn.Module):
    """A frozen linear layer that a bank's adapters can act on.

    Source: Hu et al. 2021, arXiv:2106.09685; several adapters per batch as in S-LoRA, arXiv:2311.03285.
    """

    def __init__(self, linear: nn.Linear | QuantizedLinear, routes: Routes) -> None:
        super().__init__()
        self.weight: Weight = linear.weight  # (out, in)
        self.bias = linear.bias  # (out,) or None
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.pairs: dict[int, tuple[LowRank, ...]] = {}  # an adapter's own, behind its parents'
        self._routes = routes
        self._stacks: Stacks | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        if (mixed := self._routes.mixed) is not None:
            out = frozen_linear(x, self.weight, self.bias)
            self._stacked(mixed.adapters).add_to(out.view(-1, self.out_features), x.view(-1, self.in_features), mixed)
            return out
        tokens = x.numel() // self.in_features
        routes = self._active(tokens)
        if not routes:
            return frozen_linear(x, self.weight, self.bias)
        if not torch.is_grad_enabled():
            return _plain(frozen_linear(x, self.weight, self.bias), x, routes)
        stacks = [list(stack) for _, stack in groupby(routes, lambda route: (route.start, route.stop))]
        if size := _block_size(stacks, tokens):
            counts = [(stack[0].stop - stack[0].start) // size for stack in stacks]
            blocks = _Blocks([[route.pair for route in stack] for stack in stacks], counts)
            return _BlockedLinear.apply(x, self.weight, self.bias, blocks)  # pyright: ignore[reportReturnType]
        return _RoutedLinear.apply(x, self.weight, self.bias, routes)  # pyright: ignore[reportReturnType]

    def _stacked(self, adapters: tuple[int, ...]) -> Stacks:
        """The pairs of some adapters as batched products read them, kept from step to step."""
        stacks = tuple(self.pairs.get(adapter, ()) for adapter in adapters)
        if self._stacks is None or not self._stacks.is_of(stacks):
            self._stacks = Stacks.of(stacks)
        return self._stacks

    def _active(self, tokens: int) -> list[_Route]:
        unit, rest = divmod(tokens, self._routes.total)
        if rest:
            raise ModelError(
                f"an adapted layer got {tokens} tokens of {self._routes.total}: it sits where the model picks tokens, "
                "such as in an expert, and one adapter per token is not known there. Set lora.targets: attention"
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
        hidden = flat_x[part] @ pair.a.T  # (token, rank)
        if out.dtype == torch.float32:  # of addmm MKL picks the kernel by the number of tokens, up to some dozens
            flat_out[part] += (hidden @ pair.b.T).mul_(pair.scale)
        else:
            flat_out[part].addmm_(hidden, pair.b.T, alpha=pair.scale)
    return out


class _RoutedLinear(torch.autograd.Function):
    """One function for the frozen map and all pairs: no casts, no copies, and one gradient for the input.

    The pairs' gradients are accumulated in place, in float32, instead of travelling through autograd: thousands
    of small tensors would cost more than the products themselves.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: Weight, bias: torch.Tensor | None, routes: list[_Route]
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (token, in)
        out = F.linear(flat, whole(weight), bias)  # (token, out)
        for route in routes:
            pair = route.pair
            route.hidden = flat[route.start : route.stop] @ pair.a.T  # (slice, rank)
            out[route.start : route.stop].addmm_(route.hidden, pair.b.T, alpha=pair.scale)
        ctx.save_for_backward(flat)
        ctx.weight, ctx.routes, ctx.shape = weight, routes, x.shape
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (flat,) = ctx.saved_tensors
        grad_out = grads[0].reshape(-1, ctx.weight.shape[0])  # (token, out)
        grad_in = grad_out @ whole(ctx.weight)  # (token, in)
        for route in ctx.routes:
            pair = route.pair
            part = grad_out[route.start : route.stop]
            grad_hidden = (part @ pair.b).mul_(pair.scale)  # (slice, rank)
            grad_in[route.start : route.stop].addmm_(grad_hidden, pair.a)
            if pair.grad_a is not None and pair.grad_b is not None:
                pair.grad_a.add_(grad_hidden.T @ flat[route.start : route.stop])
                pair.grad_b.add_(part.T @ route.hidden, alpha=pair.scale)
        return grad_in.view(ctx.shape), None, None, None


def _block_size(stacks: Sequence[Sequence[_Route]], tokens: int) -> int:
    """Tokens of the largest blocks that each belong to one slice; 0 where slices are better taken one by one."""
    first = [route.pair for route in stacks[0]]
    kinds = {tuple((r.pair.a.shape, r.pair.b.shape, r.pair.grad_a is None) for r in stack) for stack in stacks}
    alike = len(kinds) == 1 and {route.pair.scale for stack in stacks for route in stack} == {first[0].scale}
    gapless = all(left[0].stop == right[0].start for left, right in pairwise(stacks))
    whole = gapless and stacks[0][0].start == 0 and stacks[-1][0].stop == tokens
    if len(stacks) < MANY or not (alike and whole):
        return 0
    size = math.gcd(*(stack[0].stop for stack in stacks))
    return size if size >= BLOCK else 0


@dataclass(frozen=True, slots=True)
class _Blocks:
    """A pack cut into blocks of equal size, each of one slice: all slices in one batched product.

    Adapters that stack on one another count as one whose rank is the sum of theirs.
    """

    stacks: Sequence[Sequence[LowRank]]  # the pairs of each slice, parents first; all slices alike
    counts: Sequence[int]  # blocks of each slice, one behind the other

    @property
    def scale(self) -> float:
        """The scale that all pairs share."""
        return self.stacks[0][0].scale

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """(token, width) to (block, token of block, width)."""
        return x.view(sum(self.counts), -1, x.shape[-1])

    def a(self) -> torch.Tensor:
        """The A of each block: (block, rank of the stack, in)."""
        return self._repeated([torch.cat([pair.a for pair in stack]) for stack in self.stacks])

    def b(self) -> torch.Tensor:
        """The B of each block: (block, out, rank of the stack)."""
        return self._repeated([torch.cat([pair.b for pair in stack], dim=1) for stack in self.stacks])

    def _repeated(self, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([m for m, count in zip(matrices, self.counts, strict=True) for _ in range(count)])

    def add_gradients(
        self, x: torch.Tensor, hidden: torch.Tensor, grad_hidden: torch.Tensor, grad_out: torch.Tensor
    ) -> None:
        """Add to every pair that is trained what its blocks say, in float32.

        Args:
            x: input, (block, token, in).
            hidden: x Aᵀ, (block, token, rank of the stack).
            grad_hidden: gradient of `hidden`, scaled.
            grad_out: gradient of the output, (block, token, out).
        """
        start = 0
        for level, pair in enumerate(self.stacks[0]):
            ranks = slice(start, start + len(pair.a))
            start += len(pair.a)
            grads_a = [grad for stack in self.stacks if (grad := stack[level].grad_a) is not None]
            grads_b = [grad for stack in self.stacks if (grad := stack[level].grad_b) is not None]
            if grads_a:
                self._add_up(grads_a, grad_hidden[..., ranks].transpose(1, 2) @ x)
                self._add_up(grads_b, grad_out.transpose(1, 2) @ hidden[..., ranks], self.scale)

    def _add_up(self, grads: Sequence[torch.Tensor], parts: torch.Tensor, scale: float = 1.0) -> None:
        """Add to each slice's gradient the sum over its blocks of (block, row, column), in float32."""
        for grad, part in zip(grads, parts.split(list(self.counts)), strict=True):
            grad.add_(part.sum(0, dtype=torch.float32), alpha=scale)


class _BlockedLinear(torch.autograd.Function):
    """_RoutedLinear for many adapters: as many products as one adapter needs, whatever their number."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Weight, bias: torch.Tensor | None, blocks: _Blocks) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (token, in)
        out = F.linear(flat, whole(weight), bias)  # (token, out)
        hidden = blocks.cut(flat) @ blocks.a().transpose(1, 2)  # (block, token, rank)
        blocks.cut(out).baddbmm_(hidden, blocks.b().transpose(1, 2), alpha=blocks.scale)
        ctx.save_for_backward(flat, hidden)
        ctx.weight, ctx.blocks, ctx.shape = weight, blocks, x.shape
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        flat, hidden = ctx.saved_tensors
        blocks: _Blocks = ctx.blocks
        grad_out = grads[0].reshape(-1, ctx.weight.shape[0])  # (token, out)
        grad_in = grad_out @ whole(ctx.weight)  # (token, in)
        parts = blocks.cut(grad_out)
        grad_hidden = (parts @ blocks.b()).mul_(blocks.scale)  # (block, token, rank)
        blocks.cut(grad_in).baddbmm_(grad_hidden, blocks.a())
        blocks.add_gradients(blocks.cut(flat), hidden, grad_hidden, parts)
        return grad_in.view(ctx.shape), None, None, None


def replace_layers(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put each layer in the place that its name says."""
    for name, layer in layers.items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer)
