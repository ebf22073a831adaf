"""One adapter in training: its stream, optimizer and validation track, and what they add up to in a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from multitune.core.records import Draw, PackRow
from multitune.core.results.base import Record
from multitune.mixture.sampler import Stream, StreamState
from multitune.training.loss import answer_weights
from multitune.training.optim import AdapterOptimizer
from multitune.training.plan import AdapterSpec
from multitune.training.prepare import PreparedRun
from multitune.training.progress import TrackState, ValidationTrack
from multitune.training.trainee import Trainee


class LearnerState(Record):
    """What a checkpoint keeps of a learner besides its tensors."""

    done: bool
    trained_steps: int
    stream: StreamState
    track: TrackState
    decay_from: int | None = None  # where validation had stopped gaining; None before that


@dataclass(slots=True)
class Learner:
    """A trainee with all that moves it."""

    trainee: Trainee
    stream: Stream
    optimizer: AdapterOptimizer
    track: ValidationTrack
    validate_every: int
    done: bool = False
    trained_steps: int = 0  # optimizer steps taken
    converged: int | None = None  # the step at which validation had stopped gaining, and the decay began

    @property
    def steps(self) -> int:
        """The steps it will have taken at its end."""
        return self.optimizer.budget.steps

    @property
    def decays(self) -> bool:
        """Whether a learning rate that was constant goes down already."""
        decay_from = self.optimizer.budget.decay_from
        return decay_from is not None and self.trained_steps >= decay_from

    def end_soon(self, step: int) -> None:
        """Begin the decay of the learning rate, and end with it: validation has stopped gaining."""
        self.converged = step
        self.optimizer.budget = self.optimizer.budget.ended(step)

    @property
    def spec(self) -> AdapterSpec:
        """What it is to become."""
        return self.trainee.spec

    @property
    def name(self) -> str:
        """The adapter's name."""
        return self.spec.name

    def is_due(self) -> bool:
        """Whether a validation belongs behind the step just taken."""
        return self.trained_steps % self.validate_every == 0 or self.trained_steps == self.steps

    def rows(self, step: int, run: PreparedRun, numbers: Mapping[str, int]) -> tuple[list[Draw], list[PackRow]]:
        """The draws of one step as rows of a pack, each with its weight in the step's mean loss."""
        draws = self.stream.draw(step)
        segments = [run.tasks[draw.task].tokens["train"][draw.index] for draw in draws]
        weights = answer_weights(segments, run.config.train.loss)
        number = self.trainee.number
        rows = [
            PackRow(s, adapter=number, task=numbers[draw.task], weight=weight)
            for draw, s, weight in zip(draws, segments, weights, strict=True)
        ]
        return draws, rows

    def state(self) -> LearnerState:
        """What a checkpoint must know besides tensors."""
        return LearnerState(
            done=self.done,
            trained_steps=self.trained_steps,
            stream=self.stream.state(),
            track=self.track.state(),
            decay_from=self.converged,
        )

    def restore(self, state: LearnerState, tensors: dict[str, torch.Tensor]) -> None:
        """Go back to a checkpoint."""
        self.done, self.trained_steps = state.done, state.trained_steps
        self.stream.restore(state.stream)
        self.track = ValidationTrack.of(self.track.tasks, self.track.weights, state.track)
        self.optimizer.restore(tensors)
        if state.decay_from is not None:
            self.end_soon(state.decay_from)
