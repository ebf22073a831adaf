"""What can be trained: one adapter of a bank, or the whole backbone. A trainee names, saves and loads itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import final

import torch

from multitune.core.bases import BASE
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter, read_weights, save_adapter
from multitune.model.full import read_full, save_full
from multitune.training.memory import layers_of
from multitune.training.plan import AdapterSpec
from multitune.training.prepare import PreparedRun


class Trainee(ABC):
    """Weights on their way: float32 masters that an optimizer moves, and the model that computes with them."""

    def __init__(self, bank: AdapterBank, spec: AdapterSpec) -> None:
        self.bank = bank
        self.spec = spec

    @property
    @abstractmethod
    def subject(self) -> str:
        """The name by which the bank computes with it."""

    @property
    def number(self) -> int:
        """The number by which packs name it."""
        return self.bank.number(self.subject)

    @abstractmethod
    def masters(self) -> Sequence[torch.Tensor]:
        """Float32 weights that the optimizer moves."""

    @abstractmethod
    def gradients(self) -> Sequence[torch.Tensor]:
        """Float32 gradients, one for each master, as the backward passes left them."""

    @abstractmethod
    def publish(self) -> None:
        """Make the model compute with the masters as they are now, and clear the gradients."""

    @abstractmethod
    def save(self, folder: Path, step: int) -> None:
        """Write it as it is after `step` optimizer steps, in the form that ships.

        Raises:
            StorageError: the disk is full or not writable; a folder that was there before stays as it was.
        """

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Go back to what `save` wrote."""


@final
class AdapterTrainee(Trainee):
    """An adapter of its own in the bank: one vector. It starts without effect, on top of its parent."""

    def __init__(self, bank: AdapterBank, spec: AdapterSpec, targets: str | Sequence[str]) -> None:
        super().__init__(bank, spec)
        bank.create(spec.name, spec.rank, spec.alpha, targets, spec.seed)
        self._adapter = bank.train(spec.name)
        if spec.parent is not None:
            if spec.parent not in bank.names:
                load_adapter(bank, Path(spec.parent), spec.parent, keep="float32")
            bank.stack(spec.name, spec.parent, spec.train_parent)

    @property
    def subject(self) -> str:
        """Its own name."""
        return self.spec.name

    def masters(self) -> Sequence[torch.Tensor]:
        """The adapter's vector."""
        return (self._adapter.weights,)

    def gradients(self) -> Sequence[torch.Tensor]:
        """The vector's gradient."""
        assert self._adapter.grad is not None, "the bank trains it"
        return (self._adapter.grad,)

    def publish(self) -> None:
        """Copy the vector into the compute type, clear its gradient."""
        self._adapter.publish()
        self.gradients()[0].zero_()

    def save(self, folder: Path, step: int) -> None:
        """Write a PEFT folder that needs no parent beside it."""
        save_adapter(self.bank.flattened(self.spec.name), folder, self.bank, {**asdict(self.spec), "step": step})

    def load(self, folder: Path) -> None:
        """Take its own weights from such a folder."""
        read_weights(self.bank, folder, self.spec.name)


@final
class FullTrainee(Trainee):
    """Every weight of the backbone; tied weights count once."""

    def __init__(self, bank: AdapterBank, spec: AdapterSpec, run: PreparedRun) -> None:
        super().__init__(bank, spec)
        self._tokenizer = run.chat.tokenizer
        model = bank.backbone.model
        model.requires_grad_(True)
        self._weights: list[torch.nn.Parameter] = list(model.parameters())
        same = bank.backbone.dtype == torch.float32
        self._masters = [w.data if same else w.detach().to(torch.float32, copy=True) for w in self._weights]

    @property
    def subject(self) -> str:
        """The base's: its weights are the ones that learn."""
        return BASE

    def masters(self) -> Sequence[torch.Tensor]:
        """A float32 copy of every weight, or the weight itself where it is float32."""
        return self._masters

    def gradients(self) -> Sequence[torch.Tensor]:
        """One for each weight; zero for a weight that took no part."""
        return [torch.zeros_like(m) if w.grad is None else w.grad.float() for w, m in self._pairs()]

    def publish(self) -> None:
        """Copy the masters into the model, drop its gradients."""
        with torch.no_grad():
            for weight, master in self._pairs():
                if weight.data_ptr() != master.data_ptr():
                    weight.copy_(master)
                weight.grad = None

    def save(self, folder: Path, step: int) -> None:
        """Write an ordinary model folder."""
        save_full(self.bank.backbone, folder, self._tokenizer)

    def load(self, folder: Path) -> None:
        """Take all weights from such a folder, rounded to the compute type."""
        read_full(self.bank.backbone, folder)
        with torch.no_grad():
            for weight, master in self._pairs():
                master.copy_(weight)

    def _pairs(self) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
        return list(zip(self._weights, self._masters, strict=True))


def open_bank(run: PreparedRun, backbone: Backbone | None = None) -> AdapterBank:
    """An empty bank on the base of a run, which is loaded if it is not given.

    Raises:
        ConfigError: the run does not fit into its `memory`.
    """
    recomputed = layers_of(run)  # before anything is loaded
    bank = AdapterBank(
        backbone or load_backbone(run.ref, run.config.device, run.config.dtype, run.config.quantization)
    )
    if run.config.train.gradient_checkpointing:
        bank.recompute_layers()
    elif recomputed:
        bank.recompute_layers(recomputed)
    return bank


def new_trainee(bank: AdapterBank, run: PreparedRun, spec: AdapterSpec) -> Trainee:
    """What a run trains under an adapter's name, untrained."""
    if run.config.method == "full":
        return FullTrainee(bank, spec, run)
    return AdapterTrainee(bank, spec, run.config.lora.targets)
