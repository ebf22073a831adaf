"""What a run would do, found out without loading a weight: data, mixture, steps, size and time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from multitune.audit.run import require_settings
from multitune.config.ranges import learning_rate, range_warnings
from multitune.config.schema import RunConfig
from multitune.core.records import SPLITS, PackRow, Split
from multitune.core.results.run import AdapterReport, CheckReport, DrawnSet, SetReport, SizeEstimate
from multitune.data.summary import summarise
from multitune.data.task_input import TaskInput
from multitune.deployment.deploy import can_be_routed
from multitune.evaluation.robustness import robustness_notes
from multitune.inference.predict import longest_answer
from multitune.model.estimate import Demand, RowCost, estimate, measure_machine, model_shape, row_cost
from multitune.training.audit import audit_prepared
from multitune.training.plan import AdapterPlan, looks
from multitune.training.prepare import PreparedRun, prepare_run
from multitune.training.track import require_trackers

SAMPLED_STEPS = 12  # spread over the run: the mixture, and with it the cost of a step, moves
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
    shape = model_shape(prepared.ref, config.lora.targets, config.quantization)
    machine = measure_machine(config.device, config.dtype, shape.widest)
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
        estimate=SizeEstimate(**asdict(estimate(shape, demand(prepared), machine))),
        warnings=tuple(range_warnings(config)),
        notes=(*prepared.notes, *robustness_notes(prepared)),
        data=tuple(summarise(item, prepared.chat) for item in prepared.tasks.values()),
        audit=audit_prepared(prepared) if audits else None,
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


def demand(prepared: PreparedRun) -> Demand:
    """What the run would compute, from steps and rows sampled over it."""
    config = prepared.config
    costs: list[RowCost] = []
    tokens = 0.0
    for phase in prepared.phases:
        steps = max(plan.spec.steps for plan in phase)
        sample = sorted({int(step) for step in np.linspace(0, steps - 1, min(SAMPLED_STEPS, steps))})
        sampled = [row_cost(_step_rows(prepared, phase, step), config.train.pack_tokens) for step in sample]
        tokens += steps * float(np.mean([cost.executed for cost in sampled]))
        costs += sampled
    return Demand(
        ranks=tuple(plan.spec.rank for plan in prepared.plans) if config.method == "lora" else (),
        trained_tokens=tokens,
        scored_tokens=sum(_scored_tokens(prepared, name, item) for name, item in prepared.sets.items()),
        pack_tokens=max(cost.largest_pack for cost in costs),
        pack_targets=max(cost.most_targets for cost in costs),
        checkpointing=config.train.gradient_checkpointing,
        quantization=config.quantization,
    )


def _step_rows(prepared: PreparedRun, phase: Sequence[AdapterPlan], step: int) -> list[PackRow]:
    """The rows that all adapters of a phase draw in one step; an adapter whose steps are over draws none."""
    return [
        PackRow(prepared.tasks[draw.task].tokens["train"][draw.index], adapter=number, task=0)
        for number, plan in enumerate(phase)
        if step < plan.spec.steps
        for draw in plan.stream.draw(step)
    ]


def _scored_tokens(prepared: PreparedRun, name: str, item: TaskInput) -> float:
    """Tokens that validation, evaluation and the choice of what ships run forward for one set."""
    train, settings = prepared.config.train, prepared.config.evaluate
    learners = [plan for plan in prepared.plans if name in plan.spec.tasks]
    every = train.validate_every
    validations = sum(plan.spec.steps // every if every else looks(train) for plan in learners)
    compared = [plan for plan in prepared.adapters if len(plan.spec.tasks) > 1] or prepared.adapters
    asked = compared if item.general or name in prepared.retention else learners
    subjects = 1 + len(asked)  # the base answers as well
    tokens = validations * _pass_tokens(prepared, item, "validation", train.validate_limit, train.validate_metric)
    tokens += subjects * _pass_tokens(prepared, item, settings.split, settings.limit, not item.general)
    if name in prepared.tasks and not item.general and can_be_routed(prepared.config):
        candidates = sum(name in plan.spec.tasks for plan in prepared.adapters)
        tokens += (1 + candidates) * _pass_tokens(prepared, item, "validation", settings.select_limit, True)
    return tokens


def _pass_tokens(prepared: PreparedRun, item: TaskInput, split: Split, limit: int | None, answers: bool) -> float:
    """Tokens that one pass over rows of a split takes: their loss and, where wanted, answers to score."""
    tokens = item.tokens[split]
    rows = min(limit or len(tokens), len(tokens))
    if not rows:
        return 0.0
    sample = [PackRow(segments, adapter=0, task=0) for segments in tokens[:SAMPLED_ROWS]]
    cost = row_cost(sample, prepared.config.train.pack_tokens)
    losses = rows * cost.executed / len(sample)
    if not answers:
        return losses
    kind = item.data.task.kind
    if kind == "text":
        return losses
    if kind in ("classify", "choice"):  # labels and options share their prompt
        return 2 * losses
    # A prompt is read once, where prefixes are shared; adapters stop at half of what they may use.
    steps = math.ceil(rows / prepared.config.evaluate.batch_size) * longest_answer(item) / 2
    return losses + steps * DECODE_TOKENS
