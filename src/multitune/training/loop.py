"""The training loop, readable top to bottom: every step moves every adapter that still has steps to go."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from multitune.core.errors import TrainingError
from multitune.core.events import EventLog
from multitune.core.records import Draw, Pack, PackRow
from multitune.core.results.events import AdapterStep, StepEvent
from multitune.model.bank import AdapterBank
from multitune.training.learner import Learner
from multitune.training.loss import PackLoss, pack_loss
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
class StepRows:
    """The rows of one step, of all its learners."""

    rows: list[PackRow] = field(default_factory=list[PackRow])
    draws: list[Draw] = field(default_factory=list[Draw])
    owners: list[int] = field(default_factory=list[int])  # place of each row's learner


@dataclass(slots=True)
class StepSums:
    """What one step added up, per adapter and task."""

    nats: np.ndarray  # float64 (adapter, task) summed negative log-likelihood
    answer_tokens: np.ndarray  # int64 (adapter, task)
    weighted: np.ndarray  # float64 (adapter,) the loss that was minimised
    executed_tokens: int = 0
    logical_tokens: int = 0


def run_loop(
    bank: AdapterBank, run: PreparedRun, learners: Sequence[Learner], log: EventLog, hooks: Hooks, before: int = 0
) -> None:
    """Train until every learner is done.

    Args:
        bank: holds their adapters.
        run: the prepared run.
        learners: those of one phase.
        log: gets an event per step.
        hooks: what happens between steps.
        before: steps of the phases before this one.

    Raises:
        TrainingError: a loss or gradient is not finite; the last checkpoint is intact.
    """
    numbers = {name: i for i, name in enumerate(run.tasks)}
    total = sum(max(plan.spec.steps for plan in phase) for phase in run.phases)
    step = max((learner.trained_steps for learner in learners), default=0)
    while any(not learner.done for learner in learners):
        started = time.monotonic()
        active = [learner for learner in learners if not learner.done]
        sums = _backward(bank, run, active, step, numbers)
        moves = {learner.name: _move(learner, step) for learner in active}
        elapsed = time.monotonic() - started
        log(_step_event(run, active, sums, moves, step=before + step + 1, steps=total, seconds=elapsed))
        due = [learner for learner in active if learner.is_due()]
        for learner in due:
            hooks.validate(learner)
            learner.done = learner.done or learner.trained_steps >= learner.steps
        step += 1
        hooks.after_step(before + step, validated=bool(due))


def _backward(
    bank: AdapterBank, run: PreparedRun, active: Sequence[Learner], step: int, numbers: Mapping[str, int]
) -> StepSums:
    """Add the gradients of one step of every active learner; packs hold rows of several adapters."""
    batch = StepRows()
    for place, learner in enumerate(active):
        drawn, packed = learner.rows(step, run, numbers)
        batch.draws += drawn
        batch.rows += packed
        batch.owners += [place] * len(packed)
    shape = (len(active), len(numbers))
    sums = StepSums(np.zeros(shape), np.zeros(shape, dtype=np.int64), np.zeros(len(active)))
    for pack in bank.backbone.pack(batch.rows, run.config.train.pack_tokens):
        loss = pack_loss(bank, pack)
        owners = [batch.owners[i] for i in pack.rows]
        drawn = [(active[owner].name, batch.draws[i]) for owner, i in zip(owners, pack.rows, strict=True)]
        _require_finite(run, loss, drawn, step)
        loss.total.backward()
        _add_up(sums, pack, loss, np.array(owners), np.array([batch.rows[i].weight for i in pack.rows]))
    return sums


def _add_up(sums: StepSums, pack: Pack, loss: PackLoss, owner: np.ndarray, weight: np.ndarray) -> None:
    np.add.at(sums.nats, (owner, pack.row_task), loss.row_sum)
    np.add.at(sums.answer_tokens, (owner, pack.row_task), loss.row_tokens)
    np.add.at(sums.weighted, owner, loss.row_sum * weight)
    sums.executed_tokens += len(pack)
    sums.logical_tokens += pack.logical_tokens


def _require_finite(run: PreparedRun, loss: PackLoss, rows: Sequence[tuple[str, Draw]], step: int) -> None:
    broken = np.flatnonzero(~np.isfinite(loss.row_sum))
    if not len(broken):
        return
    adapter, draw = rows[int(broken[0])]
    item = run.tasks[draw.task]
    example = item.data.examples["train"][item.tokens["train"].kept[draw.index]]
    raise TrainingError(
        f"step {step + 1}: the loss of task {draw.task!r} under adapter {adapter!r} is not a number (row id "
        f"{example.id!r} of its training data). Look at that row, or lower train.learning_rate; the last checkpoint "
        "is intact, and `--resume` starts from it"
    )


def _move(learner: Learner, step: int) -> tuple[float, float]:
    rate, norm = learner.optimizer.step(step)
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
