"""What a run would do, found out without loading a weight: data, mixture, steps, size and time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from multitune.audit.run import require_settings
from multitune.config.ranges import learning_rate, range_warnings
from multitune.config.schema import RunConfig
from multitune.core.records import SPLITS, PackRow, Split
from multitune.core.results.run import (
    AdapterReport,
    CheckReport,
    DrawnSet,
    Recomputed,
    SetReport,
    SizeEstimate,
)
from multitune.data.summary import summarise
from multitune.data.task_input import TaskInput
from multitune.deployment.deploy import can_be_routed
from multitune.evaluation.robustness import planned_robustness
from multitune.inference.predict import longest_answer
from multitune.model.demand import RowCost, Work, row_cost
from multitune.model.estimate import Machine, estimate, measure_machine
from multitune.model.shape import model_shape
from multitune.training.audit import audit_prepared
from multitune.training.memory import memory_demand, recomputed_layers, step_costs
from multitune.training.plan import AdapterPlan, looks
from multitune.training.prepare import PreparedRun, prepare_run
from multitune.training.track import require_trackers

SAMPLED_ROWS = 200  # of a split that is scored
DECODE_TOKENS = 64  # a step of decoding takes as long as a forward pass over so many tokens, whatever the batch


def check_run(config: RunConfig, progress: Callable[[str, int, int], None] | None = None) -> CheckReport:
    """Prepare a run and measure the machine, without loading a weight.

    Raises:
        InputError: config or data do not fit, or a tracker is not installed.
    """
    audits = config.audit.mode != "off"
    if audits:
        require_settings(config.audit)
    require_trackers(config.track)
    prepared = prepare_run(config, progress)
    robustness = planned_robustness(prepared)
    machine, size = _size(prepared, robustness.answers)
    return CheckReport(
        name=config.name,
        base=config.base,
        method=config.method,
        device=machine.device.type,
        dtype=str(machine.dtype).removeprefix("torch."),
        quantization=config.quantization,
        learning_rate=learning_rate(config),
        batch_size=config.train.batch_size,
        schedule=config.mixture.schedule,
        sets=tuple(_set_report(name, item) for name, item in prepared.sets.items()),
        adapters=tuple(_adapter_report(plan) for plan in prepared.adapters),
        seeds=config.seeds,
        budget=config.train.alone,
        estimate=size,
        warnings=tuple(range_warnings(config)),
        notes=(*prepared.notes, *robustness.notes),
        data=tuple(summarise(item, prepared.chat) for item in prepared.tasks.values()),
        audit=audit_prepared(prepared) if audits else None,
    )


def _size(prepared: PreparedRun, more: Mapping[str, int]) -> tuple[Machine, SizeEstimate]:
    """Where the run would compute, and what it would take there.

    Raises:
        ConfigError: more than `memory`.
    """
    config = prepared.config
    shape = model_shape(prepared.ref, config.lora.targets, config.quantization)
    machine = measure_machine(config.device, config.dtype, shape.widest, config.quantization)
    costs = step_costs(prepared, config.train.pack_tokens)
    demand = memory_demand(prepared, costs)
    recomputed = recomputed_layers(prepared, shape, demand)
    need = estimate(shape, demand, work(prepared, costs, more), machine, recomputed)
    return machine, SizeEstimate(
        parameters=need.parameters,
        trainable_parameters=need.trainable_parameters,
        executed_tokens=need.executed_tokens,
        memory_bytes=need.memory.total,
        seconds=need.seconds,
        memory=need.memory,
        memory_budget=config.memory,
        recomputed=Recomputed(layers=recomputed, of=shape.layers, slowdown=need.slowdown) if recomputed else None,
    )


def _set_report(name: str, item: TaskInput) -> SetReport:
    train = item.tokens["train"]
    task = item.data.task
    return SetReport(
        name=name,
        general=item.general,
        kind=task.kind,
        metric=None if item.general else task.metric.name,
        rows={split: len(item.tokens[split]) for split in SPLITS},
        too_long={split: len(item.tokens[split].too_long) for split in SPLITS},
        held_elsewhere=item.data.held_elsewhere,
        tokens=train.total,
        loss_tokens=int(train.answer_lengths.sum()),
        longest=int(np.diff(train.offsets[::2]).max(initial=0)),
    )


def _adapter_report(plan: AdapterPlan) -> AdapterReport:
    start, middle, end = plan.shares
    draws, passes = plan.stream.expected_draws(), plan.stream.expected_repeats()
    sets = [DrawnSet(name=n, shares=(start[n], middle[n], end[n]), draws=draws[n], passes=passes[n]) for n in draws]
    spec = plan.spec
    return AdapterReport(name=spec.name, steps=spec.steps, learning_rate=spec.learning_rate, sets=tuple(sets))


@dataclass(frozen=True, slots=True)
class _Scored:
    """Tokens that run forward alone, and how often that goes through all layers."""

    tokens: float = 0.0
    passes: float = 0.0

    def __add__(self, other: "_Scored") -> "_Scored":
        return _Scored(self.tokens + other.tokens, self.passes + other.passes)

    def __mul__(self, times: float) -> "_Scored":
        return _Scored(times * self.tokens, times * self.passes)


def work(prepared: PreparedRun, costs: Sequence[Sequence[RowCost]], more: Mapping[str, int]) -> Work:
    """What the run would compute.

    Args:
        prepared: the run.
        costs: of steps sampled over each phase.
        more: answers to rows beside the evaluated ones, by task.
    """
    steps = [max(plan.spec.steps for plan in phase) for phase in prepared.phases]
    scored = sum((_scored(prepared, name, item, more.get(name, 0)) for name, item in prepared.sets.items()), _Scored())
    return Work(
        trained_tokens=sum(
            n * float(np.mean([c.executed for c in phase])) for n, phase in zip(steps, costs, strict=True)
        ),
        trained_packs=sum(n * float(np.mean([c.packs for c in phase])) for n, phase in zip(steps, costs, strict=True)),
        scored_tokens=scored.tokens,
        scored_passes=scored.passes,
    )


def _scored(prepared: PreparedRun, name: str, item: TaskInput, more: int) -> _Scored:
    """What validation, evaluation, `more` answers and the choice of what ships run forward for one set."""
    train, settings = prepared.config.train, prepared.config.evaluate
    learners = [plan for plan in prepared.plans if name in plan.spec.tasks]
    every = train.validate_every
    validations = sum(plan.spec.steps // every if every else looks(train) for plan in learners)
    compared = [plan for plan in prepared.adapters if len(plan.spec.tasks) > 1] or prepared.adapters
    asked = compared if item.general or name in prepared.retention else learners
    subjects = 1 + len(asked)  # the base answers as well
    found = _pass(prepared, item, "validation", train.validate_limit, train.validate_metric) * validations
    found += _pass(prepared, item, settings.split, settings.limit, not item.general) * subjects
    if more:  # changed rows are about as long as those they are made from
        found += _pass(prepared, item, settings.split, 1, True, rows=more)
    if name in prepared.tasks and not item.general and can_be_routed(prepared.config):
        candidates = sum(name in plan.spec.tasks for plan in prepared.adapters)
        found += _pass(prepared, item, "validation", settings.select_limit, True) * (1 + candidates)
    return found


def _pass(
    prepared: PreparedRun, item: TaskInput, split: Split, limit: int | None, answers: bool, *, rows: int = 0
) -> _Scored:
    """What one pass over rows of a split takes: their loss and, where wanted, answers to score.

    Args:
        prepared: the run.
        item: the set.
        split: of its rows.
        limit: on their number.
        answers: whether they are answered, too.
        rows: so many rows like those of the split, whatever the limit.
    """
    tokens = item.tokens[split]
    rows = rows or min(limit or len(tokens), len(tokens))
    if not rows or not len(tokens):
        return _Scored()
    sample = [PackRow(segments, adapter=0, task=0) for segments in tokens[:SAMPLED_ROWS]]
    cost = row_cost(sample, prepared.config.train.pack_tokens)
    losses = _Scored(cost.executed, cost.packs) * (rows / len(sample))
    kind = item.data.task.kind
    if not answers or kind == "text":
        return losses
    if kind in ("classify", "choice"):  # labels and options share their prompt
        return losses * 2
    # A prompt is read once, where prefixes are shared; adapters stop at half of what they may use.
    steps = math.ceil(rows / prepared.config.evaluate.batch_size) * longest_answer(item) / 2
    return losses + _Scored(DECODE_TOKENS, 1) * steps
