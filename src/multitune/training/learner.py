"""One adapter on its way: its stream, optimizer and validation track, and what they add up to in a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from multitune.core.records import Draw, PackRow
from multitune.training.loss import answer_weights
from multitune.training.optim import AdapterOptimizer
from multitune.training.prepare import AdapterPlan, PreparedRun
from multitune.training.progress import ValidationTrack


@dataclass(slots=True)
class Learner:
    """An adapter that is being trained. `number` is how packs name it: -1 is the backbone itself."""

    plan: AdapterPlan
    number: int
    optimizer: AdapterOptimizer
    track: ValidationTrack
    validate_every: int
    done: bool = False
    trained_steps: int = 0  # optimizer steps taken

    @property
    def name(self) -> str:
        """The adapter's name."""
        return self.plan.recipe.name

    def is_due(self) -> bool:
        """Whether a validation belongs behind the step just taken."""
        return self.trained_steps % self.validate_every == 0 or self.trained_steps == self.plan.steps

    def rows(self, step: int, run: PreparedRun, numbers: Mapping[str, int]) -> tuple[list[Draw], list[PackRow]]:
        """The draws of one step as rows of a pack, each with its weight in the step's mean loss."""
        draws = self.plan.stream.draw(step)
        segments = [run.tasks[draw.task].tokens["train"][draw.index] for draw in draws]
        weights = answer_weights(segments, run.config.train.loss)
        rows = [
            PackRow(s, adapter=self.number, task=numbers[draw.task], weight=weight)
            for draw, s, weight in zip(draws, segments, weights, strict=True)
        ]
        return draws, rows

    def facts(self) -> dict[str, Any]:
        """What a checkpoint must know besides tensors."""
        return {
            "done": self.done,
            "trained_steps": self.trained_steps,
            "stream": self.plan.stream.state(),
            "track": self.track.state(),
        }

    def restore(self, facts: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Go back to a checkpoint."""
        self.done, self.trained_steps = facts["done"], facts["trained_steps"]
        self.plan.stream.restore(facts["stream"])
        self.track = ValidationTrack.of(self.track.tasks, self.track.weights, facts["track"])
        self.optimizer.restore(tensors)
