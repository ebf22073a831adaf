"""Many named adapters on one backbone; each adapter is one flat vector with a view per layer."""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from multitune.core.bases import BASE
from multitune.core.errors import AdapterError, ModelError, suggest
from multitune.core.seeds import generator
from multitune.model.backbone import Backbone
from multitune.model.lora import LoraLinear, replace_layers
from multitune.model.low_rank import LowRank, MixedRows
from multitune.model.targets import linear_layers, select_targets

RESIDENT = 8  # adapters that mixed batches keep at hand: to lay others side by side costs a copy of them
BASE_NUMBER = -1  # by which packs name the base: no layer has a pair of this number


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one layer's pair lies in an adapter's vector: A at `start`, B right behind it."""

    module: str
    rank: int
    inputs: int
    outputs: int
    scale: float
    start: int

    @property
    def size(self) -> int:
        """Number of values of A and B together."""
        return self.rank * (self.inputs + self.outputs)

    def views(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A (rank, in) and B (out, rank) as views of an adapter's vector."""
        middle = self.start + self.rank * self.inputs
        a = vector[self.start : middle].view(self.rank, self.inputs)
        return a, vector[middle : self.start + self.size].view(self.outputs, self.rank)


@dataclass(slots=True, eq=False)
class Adapter:
    """The weights of one adapter, and how they spread over the layers."""

    name: str
    slots: tuple[Slot, ...]
    weights: torch.Tensor  # (parameter,): a float32 master, or `compute` itself where nothing will train it
    compute: torch.Tensor  # (parameter,) in the backbone's compute type: what the layers read
    grad: torch.Tensor | None = None  # float32 (parameter,) while it is trained
    parent: "Adapter | None" = None  # the adapter it stacks on, which acts wherever this one does
    train_parent: bool = False  # whether its rows move the parent as well

    def publish(self) -> None:
        """Make the layers see the weights as they are now."""
        if self.compute is not self.weights:
            self.compute.copy_(self.weights)

    @property
    def stack(self) -> "tuple[Adapter, ...]":
        """All that acts where it does, from its first ancestor to itself."""
        return (*(self.parent.stack if self.parent else ()), self)

    def tensors(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Module name -> A (rank, in) and B (out, rank), views of `weights`."""
        return {slot.module: slot.views(self.weights) for slot in self.slots}


def lay_out(shapes: Mapping[str, tuple[int, int]], ranks: Mapping[str, tuple[int, float]]) -> tuple[Slot, ...]:
    """Slots for modules with (in, out) shapes and (rank, scale) each, in the order of `shapes`."""
    slots: list[Slot] = []
    start = 0
    for module, (inputs, outputs) in shapes.items():
        rank, scale = ranks[module]
        slots.append(Slot(module, rank, inputs, outputs, scale, start))
        start += slots[-1].size
    return tuple(slots)


class AdapterBank:
    """Adapters by name on one backbone. Adding, training or removing one never touches another.

    A backbone has one bank at a time; `close` gives it back for the next one.

    >>> from multitune.core.bases import resolve_base
    >>> from multitune.model.backbone import load_backbone
    >>> bank = multitune.AdapterBank(load_backbone(resolve_base("base", Path.cwd()), device="cpu"))
    >>> adapter = bank.create("shared", rank=4, alpha=8.0, targets="attention", seed=17)
    >>> bank.names, adapter.weights.shape
    (('shared',), torch.Size([1792]))
    """

    def __init__(self, backbone: Backbone) -> None:
        assert not any(isinstance(m, LoraLinear) for m in backbone.model.modules()), "its last bank was not closed"
        self.backbone = backbone
        self._routes = backbone.routes
        self._linears = linear_layers(backbone.model)
        self._layers: dict[str, LoraLinear] = {}
        self._adapters: dict[str, Adapter] = {}
        self._numbers: dict[str, int] = {}
        self._recomputed: list[Any] = []  # layers that keep no activations
        self._resident: tuple[int, ...] = ()  # adapters whose pairs lie side by side for mixed batches

    def close(self) -> None:
        """Take all adapters out and leave the backbone as it was before the bank; the bank is of no more use."""
        replace_layers(self.backbone.model, {name: self._linears[name] for name in self._layers})
        self.backbone.model.disable_input_require_grads()
        for layer in self._recomputed:
            del layer.forward
        self._layers, self._adapters, self._numbers, self._recomputed = {}, {}, {}, []

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters, in the order they came."""
        return tuple(self._adapters)

    @property
    def linear_names(self) -> tuple[str, ...]:
        """Names of the layers an adapter may act on, in the model's order."""
        return tuple(self._linears)

    def __getitem__(self, name: str) -> Adapter:
        if name not in self._adapters:
            raise AdapterError(f"no adapter is called {name!r}. {suggest(name, self.names)}")
        return self._adapters[name]

    def number(self, name: str) -> int:
        """The number by which packs name an adapter, or the base."""
        return BASE_NUMBER if name == BASE else self._numbers[self[name].name]

    def create(self, name: str, rank: int, alpha: float, targets: str | Sequence[str], seed: int) -> Adapter:
        """A new adapter that changes nothing yet: A uniform as in PEFT, B zero.

        Raises:
            ModelError: `targets` names no linear layer of this base.
        """
        modules = select_targets(self._linears, targets)
        shapes = {m: (self._linears[m].in_features, self._linears[m].out_features) for m in modules}
        slots = lay_out(shapes, dict.fromkeys(modules, (rank, alpha / rank)))
        weights = torch.zeros(slots[-1].start + slots[-1].size)
        random = generator(seed, "adapter", name)
        for slot in slots:
            bound = 1 / math.sqrt(slot.inputs)  # kaiming_uniform with a = sqrt(5)
            a = random.uniform(-bound, bound, (slot.rank, slot.inputs)).astype(np.float32)
            slot.views(weights)[0].copy_(torch.from_numpy(a))
        return self.attach(name, slots, weights)

    def attach(self, name: str, slots: tuple[Slot, ...], weights: torch.Tensor) -> Adapter:
        """Put an adapter with given weights (flat) into the bank.

        Weights in another type than the backbone's are kept beside what the layers read, as the master that training
        and exports need; weights in its own type are all there is, half the memory or less.

        Raises:
            AdapterError: the name is taken, or a slot does not fit this base.
        """
        if name == BASE or name in self._adapters:
            raise AdapterError(f"the name {name!r} is taken; give the adapter another one")
        self._check_fit(name, slots)
        master = weights.to(self.backbone.device)
        adapter = Adapter(name, slots, master, master.to(self.backbone.dtype))
        self._adapters[name] = adapter
        self._numbers[name] = max(self._numbers.values(), default=-1) + 1
        missing = {s.module: self._linears[s.module] for s in slots if s.module not in self._layers}
        layers = {module: LoraLinear(linear, self._routes) for module, linear in missing.items()}
        replace_layers(self.backbone.model, layers)
        self._layers |= layers
        self._connect(adapter)
        return adapter

    def stack(self, name: str, parent: str, train_parent: bool = False) -> None:
        """From now on one adapter acts on top of another: what it learns is what that one lacks.

        Args:
            name: the adapter on top.
            parent: the other one, which goes on acting alone for its own rows.
            train_parent: whether rows of the upper adapter give the parent gradients, too.
        """
        adapter = self[name]
        adapter.parent, adapter.train_parent = self[parent], train_parent
        self._connect(adapter)

    def flattened(self, name: str) -> Adapter:
        """An adapter and its ancestors as one plain adapter: ranks one behind the other, the same outputs."""
        parts = self[name].stack
        return parts[0] if len(parts) == 1 else self._side_by_side(name, parts, 1)

    def averaged(self, name: str, names: Sequence[str]) -> Adapter:
        """The uniform average of adapters as one plain adapter, called `name`: all their ranks, 1/n of their scale.

        The average of what they add is meant, not of A and of B: those of two adapters need not match.
        """
        return self._side_by_side(name, [part for one in names for part in self[one].stack], len(names))

    def _side_by_side(self, name: str, parts: Sequence[Adapter], divisor: int) -> Adapter:
        """One adapter that adds the sum of what `parts` add, divided; in float32, and not in the bank."""
        found = {module: pairs for module in self._linears if (pairs := _pairs_of(parts, module))}
        ranks = {m: (sum(a.shape[0] for a, _, _ in pairs), pairs[0][2] / divisor) for m, pairs in found.items()}
        shapes = {m: (pairs[0][0].shape[1], pairs[0][1].shape[0]) for m, pairs in found.items()}
        slots = lay_out(shapes, ranks)
        weights = torch.empty(slots[-1].start + slots[-1].size, device=parts[0].weights.device)
        for slot in slots:
            a, b = slot.views(weights)
            pairs = found[slot.module]
            a.copy_(torch.cat([one for one, _, _ in pairs]))
            b.copy_(torch.cat([one * (scale / pairs[0][2]) for _, one, scale in pairs], dim=1))
        return Adapter(name, slots, weights, weights)

    def remove(self, name: str) -> None:
        """Take an adapter out; the others stay as they are.

        Raises:
            AdapterError: another adapter stacks on it.
        """
        number = self.number(self[name].name)
        above = [other.name for other in self._adapters.values() if other.parent is self[name]]
        if above:
            raise AdapterError(f"adapter {name!r} cannot be removed: {above[0]!r} stacks on it. Remove that one first")
        for slot in (slot for part in self._adapters.pop(name).stack for slot in part.slots):
            self._layers[slot.module].pairs.pop(number, None)
        del self._numbers[name]

    def train(self, name: str) -> Adapter:
        """Give an adapter a gradient, which backward passes then add to, and a float32 master if it has none."""
        adapter = self[name]
        if not any(other.grad is not None for other in self._adapters.values()):
            self.backbone.model.enable_input_require_grads()
        adapter.weights = adapter.weights.float()
        adapter.grad = torch.zeros_like(adapter.weights)
        for other in self._adapters.values():
            if adapter in other.stack:
                self._connect(other)
        return adapter

    def recompute_layers(self, count: int | None = None) -> None:
        """From now on keep no activations inside the first `count` layers, or all; backward passes compute them again.

        The first: by the time the way back comes to them, what all others kept is free. Not transformers' own switch:
        that needs `model.train()`, which brings dropout, and recomputes without routes.

        Raises:
            ModelError: the model has no layers that can be computed again.
        """
        from torch.utils.checkpoint import checkpoint
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [m for m in self.backbone.model.modules() if isinstance(m, GradientCheckpointingLayer)]
        if not layers:
            raise ModelError(
                f"train.gradient_checkpointing: {type(self.backbone.model).__name__} has no layers that can be "
                "computed again. Set it to false, and lower train.pack_tokens to save memory"
            )
        layers = layers[:count]
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, context_fn=self._same_routes)
        self._recomputed = layers

    def _same_routes(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Contexts of a layer's forward pass and of its second one, which runs after `route` was left."""
        return nullcontext(), self._routes.over(self._routes.slices, self._routes.total)

    def _connect(self, adapter: Adapter) -> None:
        """Give the layers the pairs of an adapter and of its ancestors, with the gradients its rows may move."""
        pairs: dict[str, tuple[LowRank, ...]] = {}
        moves = True
        for part in reversed(adapter.stack):
            grad = part.grad if moves else None
            for slot in part.slots:
                grads = slot.views(grad) if grad is not None else (None, None)
                own = LowRank(*slot.views(part.compute), slot.scale, *grads)
                pairs[slot.module] = (own, *pairs.get(slot.module, ()))
            moves = moves and part.train_parent
        for module, stacked in pairs.items():
            self._layers[module].pairs[self._numbers[adapter.name]] = stacked

    def _check_fit(self, name: str, slots: tuple[Slot, ...]) -> None:
        for slot in slots:
            linear = self._linears.get(slot.module)
            if linear is None:
                raise AdapterError(f"adapter {name!r}: this base has no linear layer {slot.module!r}")
            if (linear.in_features, linear.out_features) != (slot.inputs, slot.outputs):
                raise AdapterError(
                    f"adapter {name!r}: {slot.module} is {slot.inputs} -> {slot.outputs} in the adapter but "
                    f"{linear.in_features} -> {linear.out_features} in the base; it was made for another base"
                )

    @contextmanager
    def route(self, slices: tuple[tuple[int, int, int], ...], total: int) -> Generator[None]:
        """Within the block, adapter numbers act on slices of `total` tokens or rows (see lora.Routes)."""
        with self._routes.over(slices, total):
            yield

    @contextmanager
    def mix(self, owners: Sequence[str]) -> Generator[None]:
        """Within the block each row of the batch is answered by its own adapter, or by the base; no gradients.

        Rows should come in multiples of 16, so that a row's bits are those that it has alone.
        """
        numbers = [self.number(name) for name in owners]
        wanted = set(numbers) - {BASE_NUMBER}
        if not wanted:
            with self.use(BASE):
                yield
            return
        if not wanted <= set(self._resident) or len(self._resident) > max(RESIDENT, 2 * len(wanted)):
            others = [n for n in self._resident if n not in wanted and n in self._numbers.values()]
            self._resident = (*sorted(wanted), *others[: max(0, RESIDENT - len(wanted))])
        self._routes.mixed = MixedRows.of(self._resident, numbers, self.backbone.device)
        try:
            yield
        finally:
            self._routes.mixed = None

    @contextmanager
    def use(self, name: str) -> Generator[Any]:
        """Within the block, the model (yielded) answers as one adapter, or as the base."""
        slices = () if name == BASE else ((self.number(name), 0, 1),)
        with self.route(slices, 1):
            yield self.backbone.model


def _pairs_of(parts: Sequence[Adapter], module: str) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
    """A, B and scale of each adapter that acts on a layer."""
    return [(*slot.views(part.weights), slot.scale) for part in parts for slot in part.slots if slot.module == module]
