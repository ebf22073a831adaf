"""One adapter's optimizer: AdamW on float32 masters, warm-up and decay, its own clipping."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from multitune.config.schema import TrainConfig
from multitune.core.errors import RunFolderError
from multitune.training.trainee import Trainee

DECAY = 0.2  # of the steps before it: how long a rate that was constant goes down to zero


@dataclass(frozen=True, slots=True)
class Budget:
    """Steps and peak learning rate of one adapter."""

    steps: int
    learning_rate: float
    warmup: float  # share of the steps
    decay_from: int | None = None  # constant up to this step, then linear to zero; None: a cosine over all steps

    @classmethod
    def until_convergence(cls, most_steps: int, learning_rate: float, warmup: float) -> "Budget":
        """As many steps as the cap allows, the decay among them, unless `ended` makes it shorter."""
        return cls(most_steps, learning_rate, warmup, decay_from=math.floor(most_steps / (1.0 + DECAY)))

    def ended(self, step: int) -> "Budget":
        """The budget where the decay begins at a step, and the last step follows from that."""
        return replace(self, steps=min(self.steps, step + math.ceil(DECAY * step)), decay_from=step)


def learning_rate_at(budget: Budget, step: int) -> float:
    """Rate for step `step` (from 0): a linear rise over the warm-up, then down to zero.

    Either half a cosine over all steps, or constant first and then linear, which does not ask for the length
    beforehand. Source of the latter: Hägele et al. 2024, arXiv:2405.18392.
    """
    warmup_steps = math.ceil(budget.warmup * budget.steps)
    if step < warmup_steps:
        return budget.learning_rate * (step + 1) / warmup_steps
    if budget.decay_from is not None:
        left = (budget.steps - step) / max(1, budget.steps - budget.decay_from)
        return budget.learning_rate * min(1.0, left)
    progress = (step - warmup_steps) / max(1, budget.steps - warmup_steps)
    return budget.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


class AdapterOptimizer:
    """Moves one trainee; what other adapters do in the same pass has no influence on it."""

    def __init__(self, trainee: Trainee, budget: Budget, train: TrainConfig) -> None:
        self.trainee = trainee
        self.budget = budget
        self._max_norm = train.max_grad_norm
        masters = list(trainee.masters())
        # Decay pulls towards zero, which is right for matrices and wrong for norms and biases.
        matrices = [m for m in masters if m.ndim != 1 or len(masters) == 1]
        vectors = [m for m in masters if m.ndim == 1 and len(masters) > 1]
        groups = [{"params": matrices, "weight_decay": train.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self._adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=budget.learning_rate, fused=True)

    def step(self, step: int, gradients: Sequence[torch.Tensor] | None = None) -> tuple[float, float]:
        """Clip, move, publish.

        Args:
            step: from 0.
            gradients: one for each master, which clipping changes; the trainee's own when None.

        Returns:
            The learning rate, and the gradient's norm before clipping; one that is not finite leaves everything as it
            was, for the caller to report.
        """
        rate = learning_rate_at(self.budget, step)
        masters, gradients = self.trainee.masters(), gradients or self.trainee.gradients()
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if not math.isfinite(norm):
            return rate, norm
        for master, gradient in zip(masters, gradients, strict=True):
            if norm > self._max_norm:
                gradient.mul_(self._max_norm / norm)
            master.grad = gradient
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        for master in masters:
            master.grad = None  # for a whole model it is a float32 copy, which would outlive the next way back
        self.trainee.publish()
        return rate, norm

    def tensors(self) -> dict[str, torch.Tensor]:
        """Masters and moments by name, for a checkpoint."""
        tensors: dict[str, torch.Tensor] = {}
        for i, master in enumerate(self.trainee.masters()):
            tensors[f"{i}.weights"] = master.detach()
            for key, value in self._adamw.state.get(master, {}).items():
                tensors[f"{i}.{key}"] = value
        return tensors

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave.

        Raises:
            RunFolderError: they are of something else; nothing was changed.
        """
        for i, master in enumerate(self.trainee.masters()):
            for key in ("weights", "exp_avg", "exp_avg_sq"):
                tensor = tensors.get(f"{i}.{key}")
                shape = None if tensor is None else tuple(tensor.shape)
                if shape != tuple(master.shape) and (shape or key == "weights"):  # before its first step: no moments
                    raise RunFolderError(
                        f"the checkpoint holds {i}.{key} of {self.trainee.spec.name!r} as {shape}, not as "
                        f"{tuple(master.shape)}: it is damaged, or of another run. Start again with --overwrite"
                    )
        for i, master in enumerate(self.trainee.masters()):
            with torch.no_grad():
                master.copy_(tensors[f"{i}.weights"])
            state: dict[str, Any] = {
                key: tensors[f"{i}.{key}"].to(master.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{i}.{key}" in tensors
            }
            if state:
                self._adamw.state[master] = state
        self.trainee.publish()
