"""What validation has shown of one adapter: losses per task, the best step per criterion, who stopped gaining."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from multitune.core.results.base import Record
from multitune.core.results.run import BestStep

CRITERIA: tuple[str, ...] = ("mean", "worst", "weighted")


class TrackState(Record):
    """What a checkpoint keeps of a validation track."""

    start: dict[str, float]  # task -> loss at the first validation, nats per answer token
    best: dict[str, BestStep]  # criterion or `task:NAME` -> best
    stale: dict[str, int]  # task -> validations since its best


@dataclass(slots=True)
class ValidationTrack:
    """History of one adapter's validation losses."""

    tasks: tuple[str, ...]
    weights: Mapping[str, float]
    start: dict[str, float] = field(default_factory=dict[str, float])
    best: dict[str, BestStep] = field(default_factory=dict[str, BestStep])  # criterion or "task:NAME" -> best
    stale: dict[str, int] = field(default_factory=dict[str, int])  # task -> validations since its best

    def note(self, step: int, losses: Mapping[str, float]) -> list[str]:
        """Take in one validation. Returns the criteria that it is the best of so far."""
        self.start = self.start or dict(losses)
        values = {f"task:{task}": losses[task] for task in self.tasks} | self._aggregates(losses)
        improved = [key for key, value in values.items() if key not in self.best or value < self.best[key].value]
        for key in improved:
            self.best[key] = BestStep(step=step, value=values[key])
        for task in self.tasks:
            self.stale[task] = 0 if f"task:{task}" in improved else self.stale.get(task, 0) + 1
        return improved

    def _aggregates(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Losses relative to the start, so that tasks of different scale count alike."""
        relative = {task: losses[task] / max(self.start[task], 1e-9) for task in self.tasks}
        total = sum(self.weights[task] for task in self.tasks)
        return {
            "mean": sum(relative.values()) / len(relative),
            "worst": max(relative.values()),
            "weighted": sum(self.weights[task] * value for task, value in relative.items()) / total,
        }

    def overfitted(self, patience: int | None) -> list[str]:
        """Tasks without gain for `patience` validations."""
        return [] if patience is None else [task for task, count in self.stale.items() if count >= patience]

    def chosen(self, criterion: Literal["mean", "worst", "weighted"]) -> int:
        """The step that the run's criterion picks."""
        return self.best[criterion].step

    def steps_in_use(self) -> set[int]:
        """Steps that are the best of some criterion; their snapshots are kept."""
        return {best.step for best in self.best.values()}

    def state(self) -> TrackState:
        """All that it has seen."""
        return TrackState(start=self.start, best=self.best, stale=self.stale)

    @classmethod
    def of(
        cls, tasks: Sequence[str], weights: Mapping[str, float], state: TrackState | None = None
    ) -> "ValidationTrack":
        """A new track, or the one that `state` describes."""
        track = cls(tuple(tasks), {task: weights[task] for task in tasks})
        if state is not None:
            track.start, track.best, track.stale = dict(state.start), dict(state.best), dict(state.stale)
        return track
