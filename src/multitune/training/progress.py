"""What validation has shown of one adapter: values by row, the best step per criterion, who stopped gaining."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from multitune.core.results.base import Record
from multitune.core.results.run import BestStep, StepRule
from multitune.training.choice import Criterion, Look, RowValues, choose_step, measured, over_tasks

CRITERIA: tuple[Criterion, ...] = ("mean", "worst", "weighted")
LAST_LOOKS = 3  # from which the noise of one training is estimated


class TrackState(Record):
    """What a checkpoint keeps of a validation track."""

    start: dict[str, float]  # task -> loss at the first validation, nats per answer token
    best: dict[str, BestStep]  # criterion or `task:NAME` -> best
    stale: dict[str, int]  # task -> validations since its best
    looks: tuple[Look, ...] = ()  # none in checkpoints of older versions


@dataclass(slots=True)
class ValidationTrack:
    """History of one adapter's validation losses."""

    tasks: tuple[str, ...]
    weights: Mapping[str, float]
    start: dict[str, float] = field(default_factory=dict[str, float])
    best: dict[str, BestStep] = field(default_factory=dict[str, BestStep])  # criterion or "task:NAME" -> best
    stale: dict[str, int] = field(default_factory=dict[str, int])  # task -> validations since its best
    looks: list[Look] = field(default_factory=list[Look])  # by row, where they are known

    def look(self, step: int, rows: Mapping[str, RowValues]) -> list[str]:
        """Take in one validation, row by row. Returns the criteria that it is the best of so far."""
        self.looks.append(Look(step=step, tasks=dict(rows)))
        return self.note(step, {task: float(np.mean(values.losses)) for task, values in rows.items()})

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
        relative = np.array([losses[task] / max(self.start[task], 1e-9) for task in self.tasks])
        return {by: -float(over_tasks(-relative, by, self._weights)) for by in CRITERIA}

    @property
    def _weights(self) -> np.ndarray:
        return np.array([self.weights[task] for task in self.tasks])

    def overfitted(self, patience: int | None) -> list[str]:
        """Tasks without gain for `patience` validations."""
        return [] if patience is None else [task for task, count in self.stale.items() if count >= patience]

    def stalled(self, criterion: Criterion) -> int:
        """Looks since the adapter last gained: since the best loss, or the best score where scores are measured."""
        scored = measured(self.looks)
        steps = [self.best[criterion].step]
        if scored:
            steps.append(self._best_scored(scored, criterion, latest=False).step)
        return sum(look.step > max(steps) for look in self.looks)

    def chosen(self, rule: StepRule, criterion: Criterion) -> tuple[int, str]:
        """The step that is kept, and why."""
        if not self.looks or rule == "lowest_loss":
            return self.best[criterion].step, f"the lowest validation loss, {criterion} over tasks"
        if rule == "last":
            return self.looks[-1].step, "the last step"
        return choose_step(self.looks, criterion, self.weights)

    def noise(self) -> dict[str, float]:
        """Task -> standard deviation of its mean validation score over the last looks; empty where too few had scores.

        As much as one training shows of how its result would vary: where it still learns, this is too much, and as far
        as another seed would differ from the start on, too little.
        """
        scored = measured(self.looks)[-LAST_LOOKS:]
        if len(scored) < LAST_LOOKS:
            return {}
        return {t: float(np.std([np.mean(look.tasks[t].scores) for look in scored], ddof=1)) for t in self.tasks}

    def steps_in_use(self) -> set[int]:
        """Steps that may yet be chosen, whose snapshots are kept: the last, and the best of some criterion."""
        return {best.step for best in self.best.values()} | {look.step for look in self.looks[-1:]} | self._by_score()

    def _by_score(self) -> set[int]:
        scored = measured(self.looks)
        return {self._best_scored(scored, by, latest=True).step for by in CRITERIA} if scored else set()

    def _best_scored(self, scored: Sequence[Look], criterion: Criterion, *, latest: bool) -> Look:
        """The look with the highest score over the tasks; of equals the latest or the earliest."""
        means = np.array([[np.mean(look.tasks[task].scores) for task in self.tasks] for look in scored])
        values = over_tasks(means, criterion, self._weights)
        return scored[-1 - int(values[::-1].argmax())] if latest else scored[int(values.argmax())]

    def state(self) -> TrackState:
        """All that it has seen."""
        return TrackState(start=self.start, best=self.best, stale=self.stale, looks=tuple(self.looks))

    @classmethod
    def of(
        cls, tasks: Sequence[str], weights: Mapping[str, float], state: TrackState | None = None
    ) -> "ValidationTrack":
        """A new track, or the one that `state` describes."""
        track = cls(tuple(tasks), {task: weights[task] for task in tasks})
        if state is not None:
            track.start, track.best, track.stale = dict(state.start), dict(state.best), dict(state.stale)
            track.looks = list(state.looks)
        return track
