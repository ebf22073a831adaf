"""What a run would do, found out without loading a weight: data, mixture, steps, size and time."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from multitune.config.ranges import learning_rate, range_warnings
from multitune.config.schema import RunConfig
from multitune.core.records import SPLITS, PackRow, Split
from multitune.model.estimate import Demand, estimate, measure_machine, model_shape, row_cost
from multitune.train.prepare import AdapterPlan, PreparedRun, TaskInput, prepare_run

SAMPLED_STEPS = 12  # spread over the run: the mixture, and with it the cost of a step, moves
SAMPLED_ROWS = 200  # of a split that is scored


def check_run(config: RunConfig, progress: Callable[[str, int, int], None] | None = None) -> dict[str, Any]:
    """Prepare a run and measure the machine.

    Returns:
        Plain values::

            {"name", "base", "method", "device", "dtype", "learning_rate", "batch_size", "schedule",
             "sets": [{"name", "general", "kind", "metric", "rows": {SPLIT: n}, "too_long": {SPLIT: n},
                       "tokens", "loss_tokens", "longest"}],          # tokens of the training rows
             "adapters": [{"name", "steps", "sets": [{"name", "shares": [start, middle, end], "draws", "passes"}]}],
             "estimate": {fields of model.estimate.Estimate}, "warnings": [text], "notes": [text]}

    Raises:
        InputError: config or data do not fit.
    """
    prepared = prepare_run(config, progress)
    shape = model_shape(prepared.ref, config.lora)
    machine = measure_machine(config.device, config.dtype, shape.widest)
    return {
        "name": config.name,
        "base": config.base,
        "method": config.method,
        "device": machine.device.type,
        "dtype": str(machine.dtype).removeprefix("torch."),
        "learning_rate": learning_rate(config),
        "batch_size": config.train.batch_size,
        "schedule": config.mixture.schedule,
        "sets": [_set_record(name, item) for name, item in prepared.tasks.items()],
        "adapters": [_adapter_record(plan) for plan in prepared.plans],
        "estimate": asdict(estimate(shape, demand(prepared), machine)),
        "warnings": range_warnings(config),
        "notes": list(prepared.notes),
    }


def _set_record(name: str, item: TaskInput) -> dict[str, Any]:
    train = item.tokens["train"]
    task = item.data.task
    return {
        "name": name,
        "general": item.general,
        "kind": task.config.kind,
        "metric": None if item.general else task.metric.name,
        "rows": {split: len(item.tokens[split]) for split in SPLITS},
        "too_long": {split: len(item.tokens[split].too_long) for split in SPLITS},
        "tokens": len(train.tokens),
        "loss_tokens": int(train.answer_lengths.sum()),
        "longest": int(np.diff(train.offsets[::2]).max()),
    }


def _adapter_record(plan: AdapterPlan) -> dict[str, Any]:
    moments = [plan.stream.shares(step) for step in (0, plan.steps // 2, plan.steps - 1)]
    draws, passes = plan.stream.expected_draws(), plan.stream.expected_repeats()
    sets = [
        {"name": name, "shares": [shares[name] for shares in moments], "draws": draws[name], "passes": passes[name]}
        for name in draws
    ]
    return {"name": plan.recipe.name, "steps": plan.steps, "sets": sets}


def demand(prepared: PreparedRun) -> Demand:
    """What the run would compute, from steps and rows sampled over it."""
    config = prepared.config
    steps = max(plan.steps for plan in prepared.plans)
    sample = sorted({int(step) for step in np.linspace(0, steps - 1, min(SAMPLED_STEPS, steps))})
    costs = [row_cost(_step_rows(prepared, step), config.train.pack_tokens) for step in sample]
    return Demand(
        adapters=len(prepared.plans) if config.method == "lora" else 0,
        trained_tokens=steps * float(np.mean([cost.executed for cost in costs])),
        scored_tokens=sum(_scored_tokens(prepared, name, item) for name, item in prepared.tasks.items()),
        pack_tokens=max(cost.largest_pack for cost in costs),
        pack_targets=max(cost.most_targets for cost in costs),
        checkpointing=config.train.gradient_checkpointing,
    )


def _step_rows(prepared: PreparedRun, step: int) -> list[PackRow]:
    """The rows that all adapters draw in one step; an adapter whose steps are over draws none."""
    return [
        PackRow(prepared.tasks[draw.task].tokens["train"][draw.index], adapter=number, task=0)
        for number, plan in enumerate(prepared.plans)
        if step < plan.steps
        for draw in plan.stream.draw(step)
    ]


def _scored_tokens(prepared: PreparedRun, name: str, item: TaskInput) -> float:
    """Tokens that validation and evaluation run forward for one set."""
    config = prepared.config
    learners = [plan for plan in prepared.plans if name in plan.tasks]
    every = config.train.validate_every
    validations = sum(plan.steps // every if every else 4 for plan in learners)
    answered = 1 + config.train.validate_metric  # a loss, and an answer to score
    validated = min(config.train.validate_limit, len(item.tokens["validation"]))
    split = config.evaluate.split
    evaluated = min(config.evaluate.limit or len(item.tokens[split]), len(item.tokens[split]))
    subjects = 1 + (len(prepared.plans) if item.general else len(learners))
    per_validation = validated * answered * _tokens_per_row(prepared, item, "validation")
    return validations * per_validation + subjects * evaluated * 2 * _tokens_per_row(prepared, item, split)


def _tokens_per_row(prepared: PreparedRun, item: TaskInput, split: Split) -> float:
    rows = [PackRow(segments, adapter=0, task=0) for segments in item.tokens[split][:SAMPLED_ROWS]]
    cost = row_cost(rows, prepared.config.train.pack_tokens)
    # Free text is decoded row by row, without shared prefixes.
    generated = item.data.task.config.kind != "classify"
    return (cost.logical if generated else cost.executed) / len(rows)
