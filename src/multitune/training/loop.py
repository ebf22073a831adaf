"""The training loop, readable top to bottom: every step moves every adapter that still has steps to go."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from multitune.core.errors import TrainingError
from multitune.core.events import EventLog
from multitune.core.results.events import AdapterStep, StepEvent
from multitune.training.compute import Compute, StepRows
from multitune.training.learner import Learner
from multitune.training.loss import RowLosses
from multitune.training.prepare import PreparedRun


class Hooks(Protocol):
    """What happens between steps; training.job provides it."""

    def validate(self, learner: Learner) -> None:
        """Measure an adapter, keep it if it is the best so far, stop what overfits."""
        ...

    def after_step(self, step: int, validated: bool) -> None:
        """Write a checkpoint when one is due; leave the loop (by raising) when the user asked to."""
        ...


@dataclass(slots=True)
class StepSums:
    """What one step added up, per adapter and task."""

    nats: np.ndarray  # float64 (adapter, task) summed negative log-likelihood
    answer_tokens: np.ndarray  # int64 (adapter, task)
    weighted: np.ndarray  # float64 (adapter,) the loss that was minimised
    executed_tokens: int
    logical_tokens: int


def run_loop(compute: Compute, learners: Sequence[Learner], log: EventLog, hooks: Hooks, before: int = 0) -> None:
    """Train until every learner is done.

    Args:
        compute: gives gradients of the run that is trained.
        learners: those of one phase.
        log: gets an event per step.
        hooks: what happens between steps.
        before: steps of the phases before this one.

    Raises:
        TrainingError: a loss or gradient is not finite; the last checkpoint is intact.
    """
    run = compute.run
    numbers = {name: i for i, name in enumerate(run.tasks)}
    total = sum(max(plan.spec.steps for plan in phase) for phase in run.phases)
    step = max((learner.trained_steps for learner in learners), default=0)
    while any(not learner.done for learner in learners):
        started = time.monotonic()
        active = [learner for learner in learners if not learner.done]
        batch, losses = _backward(compute, active, step, numbers)
        _require_finite(run, batch, losses, [learner.name for learner in active], step)
        moves = {learner.name: _move(compute, learner, step) for learner in active}
        compute.publish([learner.trainee for learner in active])
        elapsed = time.monotonic() - started
        sums = _add_up(batch, losses, len(active), len(numbers))
        log(_step_event(run, active, sums, moves, step=before + step + 1, steps=total, seconds=elapsed))
        due = [learner for learner in active if learner.is_due()]
        for learner in due:
            hooks.validate(learner)
            learner.done = learner.done or learner.trained_steps >= learner.steps
        step += 1
        hooks.after_step(before + step, validated=bool(due))


def _backward(
    compute: Compute, active: Sequence[Learner], step: int, numbers: Mapping[str, int]
) -> tuple[StepRows, RowLosses]:
    """Add the gradients of one step of every active learner."""
    batch = StepRows()
    for place, learner in enumerate(active):
        drawn, packed = learner.rows(step, compute.run, numbers)
        batch.draws += drawn
        batch.rows += packed
        batch.owners += [place] * len(packed)
    return batch, compute.backward(batch, [learner.trainee for learner in active])


def _add_up(batch: StepRows, losses: RowLosses, adapters: int, tasks: int) -> StepSums:
    sums = StepSums(
        np.zeros((adapters, tasks)),
        np.zeros((adapters, tasks), dtype=np.int64),
        np.zeros(adapters),
        losses.executed_tokens,
        losses.logical_tokens,
    )
    owner = np.array([batch.owners[row] for row in losses.rows])
    task = np.array([batch.rows[row].task for row in losses.rows])
    weight = np.array([batch.rows[row].weight for row in losses.rows])
    np.add.at(sums.nats, (owner, task), losses.nats)
    np.add.at(sums.answer_tokens, (owner, task), losses.tokens)
    np.add.at(sums.weighted, owner, losses.nats * weight)
    return sums


def _require_finite(run: PreparedRun, batch: StepRows, losses: RowLosses, adapters: Sequence[str], step: int) -> None:
    broken = np.flatnonzero(~np.isfinite(losses.nats))
    if not len(broken):
        return
    row = losses.rows[int(broken[0])]
    draw = batch.draws[row]
    item = run.tasks[draw.task]
    example = item.data.examples["train"][item.tokens["train"].kept[draw.index]]
    raise TrainingError(
        f"step {step + 1}: the loss of task {draw.task!r} under adapter {adapters[batch.owners[row]]!r} is not a "
        f"number (row id {example.id!r} of its training data). Look at that row, or lower train.learning_rate; the "
        "last checkpoint is intact, and `--resume` starts from it"
    )


def _move(compute: Compute, learner: Learner, step: int) -> tuple[float, float]:
    rate, norm = learner.optimizer.step(step, compute.gradients(learner.trainee))
    if not math.isfinite(norm):
        raise TrainingError(
            f"step {step + 1}: the gradient of adapter {learner.name!r} (tasks {', '.join(learner.spec.tasks)}) is "
            f"not finite at learning rate {rate:.2g}. Lower train.learning_rate; the last checkpoint is intact, and "
            "`--resume` starts from it"
        )
    learner.trained_steps = step + 1
    return rate, norm


def _step_event(
    run: PreparedRun,
    active: Sequence[Learner],
    sums: StepSums,
    moves: Mapping[str, tuple[float, float]],
    *,
    step: int,
    steps: int,
    seconds: float,
) -> StepEvent:
    """One step as an event: losses in nats per answer token, configured and achieved shares."""
    names = list(run.tasks)
    adapters: dict[str, AdapterStep] = {}
    for place, learner in enumerate(active):
        drawn = np.flatnonzero(sums.answer_tokens[place])
        rate, norm = moves[learner.name]
        adapters[learner.name] = AdapterStep(
            loss=float(sums.weighted[place]),
            lr=rate,
            grad_norm=norm,
            step=learner.trained_steps,
            steps=learner.steps,
            tasks={names[t]: float(sums.nats[place, t] / sums.answer_tokens[place, t]) for t in drawn},
            shares=learner.stream.shares(learner.trained_steps - 1),
            achieved=dict(learner.stream.achieved(learner.trained_steps)),
        )
    return StepEvent(
        step=step,
        steps=steps,
        seconds=seconds,
        tokens=sums.executed_tokens,
        logical_tokens=sums.logical_tokens,
        answer_tokens=int(sums.answer_tokens.sum()),
        adapters=adapters,
    )
