"""What each adapter of a run will be: its settings, resolved once, and the stream of its draws."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from multitune.config.adapters import expand_seeds
from multitune.config.ranges import learning_rate
from multitune.config.schema import AdapterConfig, RunConfig, TrainConfig
from multitune.core.errors import MixtureError
from multitune.data.task_input import TaskInput
from multitune.mixture.sampler import Member, Stream, StreamPlan, plan_steps


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """An adapter with every setting resolved; everything after planning reads these, and no default again."""

    name: str
    tasks: tuple[str, ...]
    general: Mapping[str, float]  # general set -> its share of the draws
    parent: str | None  # the adapter it stacks on: one of this run, or the folder of a finished one
    train_parent: bool  # learn side by side with the parent and move it too; else after it, on its best step
    rank: int
    alpha: float
    seed: int  # of its stream and its start
    schedule: str
    steps: int  # optimizer steps
    learning_rate: float  # peak
    training: int = 0  # which of several trainings of the same adapter, each with a seed of its own; the first ships


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """An adapter to train, and the stream of its draws."""

    spec: AdapterSpec
    stream: Stream

    @property
    def shares(self) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Share of each set at the start, in the middle and at the end, before any feedback."""
        steps = self.spec.steps
        return self.stream.shares(0), self.stream.shares(steps // 2), self.stream.shares(steps - 1)


@dataclass(frozen=True, slots=True)
class SetSize:
    """What a plan needs to know of a set's training rows."""

    rows: int
    answer_length: float = 1.0  # mean, in tokens; in other units where only the ratio of the sets' lengths counts
    groups: Sequence[str] | None = None  # document of each row, where rows of one are drawn together


def looks(train: TrainConfig) -> int:
    """Validations of an adapter, where no interval is set."""
    return 8 if train.alone == "convergence" else 4


def plan_adapters(config: RunConfig, tasks: Mapping[str, TaskInput]) -> tuple[AdapterPlan, ...]:
    """Every training of every adapter that a config asks for, over sets that were read before.

    The length of a single-task adapter that states none follows from the first adapter that learns its task together
    with others: see `train.alone`.
    """
    by_document = config.mixture.share_prefix == "document"
    return plan_sets(config, {name: _size(item, by_document) for name, item in tasks.items()})


def _size(item: TaskInput, by_document: bool) -> SetSize:
    train = item.tokens["train"]
    groups: Sequence[str] | None = None
    if by_document:
        of_all = [example.group for example in item.data.examples["train"]]
        groups = [of_all[i] for i in train.kept]
    return SetSize(len(train), float(np.mean(train.answer_lengths)) if len(train) else 1.0, groups)


def plan_sets(config: RunConfig, sets: Mapping[str, SetSize]) -> tuple[AdapterPlan, ...]:
    """`plan_adapters` for sets of which the sizes alone are known."""
    trainings = expand_seeds(config)
    together = {
        a.name: _plan(config, a, sets, steps=_own_steps(config, a, sets), training=number)
        for a, number in trainings
        if len(a.tasks) > 1
    }
    alone = {
        a.name: _plan(config, a, sets, steps=_steps_alone(config, a, sets, together.values()), training=number)
        for a, number in trainings
        if len(a.tasks) == 1
    }
    plans = together | alone
    return tuple(plans[adapter.name] for adapter, _ in trainings)


def phases(plans: Sequence[AdapterPlan]) -> tuple[tuple[AdapterPlan, ...], ...]:
    """Plans that train side by side; one that stacks on a finished adapter of this run waits for it."""
    depth: dict[str, int] = {}
    for plan in plans:
        spec = plan.spec
        below = depth.get(spec.parent or "")
        depth[spec.name] = 0 if below is None else below if spec.train_parent else below + 1
    return tuple(
        tuple(plan for plan in plans if depth[plan.spec.name] == phase) for phase in range(max(depth.values()) + 1)
    )


def _plan(
    config: RunConfig, adapter: AdapterConfig, sets: Mapping[str, SetSize], *, steps: int, training: int
) -> AdapterPlan:
    spec = _resolved(config, adapter, steps=steps, training=training)
    mixture = config.mixture.model_copy(update={"schedule": spec.schedule})
    plan = StreamPlan(spec.seed, spec.name, config.train.batch_size, spec.steps)
    return AdapterPlan(spec, Stream(_members(config, spec, sets), mixture, plan))


def _resolved(config: RunConfig, adapter: AdapterConfig, *, steps: int, training: int) -> AdapterSpec:
    lora = config.lora
    rank = adapter.rank or lora.rank
    return AdapterSpec(
        name=adapter.name,
        tasks=adapter.tasks,
        general=_general_shares(config, adapter),
        parent=adapter.stack_on,
        train_parent=adapter.train_parent,
        rank=rank,
        alpha=adapter.alpha or lora.alpha * rank / lora.rank,
        seed=config.seed if adapter.seed is None else adapter.seed,
        schedule=adapter.schedule or config.mixture.schedule,
        steps=steps,
        learning_rate=learning_rate(config) * _rate_factor(config, adapter),
        training=training,
    )


def _rate_factor(config: RunConfig, adapter: AdapterConfig) -> float:
    """That of the task which it learns alone; steps that several tasks share have one rate."""
    return next((task.learning_rate_factor for task in config.tasks if adapter.tasks == (task.name,)), 1.0)


def _general_shares(config: RunConfig, adapter: AdapterConfig) -> dict[str, float]:
    """Shares of the general sets in one adapter's mixture; a number in its config is what they add up to."""
    shares = {task.name: task.share or 0.0 for task in config.general}
    if not adapter.general or not shares:
        return {}
    scale = 1.0 if adapter.general is True else adapter.general / sum(shares.values())
    return {name: share * scale for name, share in shares.items()}


def _own_steps(config: RunConfig, adapter: AdapterConfig, sets: Mapping[str, SetSize]) -> int:
    if adapter.steps is not None:
        return adapter.steps
    if adapter.epochs is None and config.train.max_steps is not None:
        return config.train.max_steps
    epochs = adapter.epochs or config.train.epochs
    draws = sum(sets[name].rows * passes_over(config, name, epochs) for name in adapter.tasks)
    general = sum(_general_shares(config, adapter).values())
    return plan_steps(draws, config.train.batch_size, 1.0, general)


def passes_over(config: RunConfig, task: str, epochs: float) -> float:
    """Passes over a task's rows: its own, or those of its adapter."""
    return next((one.passes for one in config.tasks if one.name == task and one.passes is not None), epochs)


def _steps_alone(
    config: RunConfig, adapter: AdapterConfig, sets: Mapping[str, SetSize], others: Iterable[AdapterPlan]
) -> int:
    """Steps of a single-task adapter: its own, or as many passes or steps as the first that shares its task."""
    (task,) = adapter.tasks
    together = next((plan for plan in others if task in plan.spec.tasks), None)
    if together is None or adapter.steps is not None or adapter.epochs is not None:
        return _own_steps(config, adapter, sets)
    if config.train.alone in ("equal_steps", "convergence"):
        return together.spec.steps
    draws = together.stream.expected_draws()[task]
    return max(1, math.ceil(draws / config.train.batch_size - 1e-9))


def _members(config: RunConfig, spec: AdapterSpec, sets: Mapping[str, SetSize]) -> list[Member]:
    names = [*spec.tasks, *spec.general]
    draws = spec.steps * config.train.batch_size
    shares = {**{task.name: task.share for task in config.tasks}, **spec.general}
    for task in config.tasks:
        if task.passes is not None and task.name in names:
            shares[task.name] = task.passes * sets[task.name].rows / draws
    fixed = sum(shares[name] or 0.0 for name in names)
    if fixed >= 1.0 and any(shares[name] is None for name in names):
        raise MixtureError(
            f"adapter {spec.name!r}: passes and shares come to {fixed:.0%} of its {draws:,} draws, and nothing is "
            "left for its other tasks. Lower `passes`, or give it more steps"
        )
    members: list[Member] = []
    for name in names:
        one = sets[name]
        # With one task there is nothing to share out.
        share = shares[name] if len(names) > 1 else None
        members.append(Member(name, one.rows, one.answer_length, share, one.groups))
    return members
