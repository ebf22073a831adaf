"""What ways to choose without a router would be worth: one average of all adapters for every text, and Arrow.

Only for the report, where `router.compare` asks for them::

    {"uniform": {"adapters": [NAME], "scores": {TASK: score}},
     "arrow": {"adapters": [NAME], "examples", "accuracy", "chosen": {ADAPTER: {ADAPTER: share of its rows}}}}

`uniform` answers every evaluated row once more, by an adapter whose rank is the sum of theirs; `arrow` takes a forward
pass of the bare backbone over the first tokens of every prompt. Where fewer than two adapters ship, both are None.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from multitune.deployment.router_report import texts_of
from multitune.evaluation.transfer import corpus_score
from multitune.inference.predict import chosen_rows, predict_options, predict_rows
from multitune.model.bank import BASE, AdapterBank
from multitune.routing.arrow import arrow_scores
from multitune.training.prepare import PreparedRun

UNIFORM = "uniform average"  # no recipe has a blank in its name


def measure_rivals(prepared: PreparedRun, bank: AdapterBank, adapters: Mapping[str, str]) -> dict[str, Any]:
    """The parts of the report that `router.compare` names, on the rows of the final table.

    Args:
        prepared: the run.
        bank: holds the table's adapters; it ends as it began.
        adapters: task -> the adapter it ships with.
    """
    names = list(dict.fromkeys(name for name in adapters.values() if name != BASE))
    measures = {"uniform": _uniform, "arrow": _arrow}
    chosen = prepared.config.router.compare
    return {name: measures[name](prepared, bank, adapters, names) if len(names) > 1 else None for name in chosen}


def _places(prepared: PreparedRun, task: str) -> list[int]:
    options = predict_options(prepared.config, prepared.config.evaluate.limit)
    return chosen_rows(prepared.tasks[task], prepared.config.evaluate.split, options)


def _uniform(
    prepared: PreparedRun, bank: AdapterBank, adapters: Mapping[str, str], names: Sequence[str]
) -> dict[str, Any]:
    """Each task's score under the average of what ships: the floor that a router must beat."""
    average = bank.averaged(UNIFORM, names)
    bank.attach(UNIFORM, average.slots, average.weights.to(bank.backbone.dtype))
    options, split = predict_options(prepared.config, None), prepared.config.evaluate.split
    scores: dict[str, float] = {}
    try:
        for task in adapters:
            item = prepared.tasks[task]
            said = predict_rows(bank, UNIFORM, item, (split, _places(prepared, task)), prepared.chat, options)
            scores[task] = corpus_score(item.data.task.metric, said)
    finally:
        bank.remove(UNIFORM)
    return {"adapters": list(names), "scores": scores}


def _arrow(
    prepared: PreparedRun, bank: AdapterBank, adapters: Mapping[str, str], names: Sequence[str]
) -> dict[str, Any]:
    """How often Arrow, summed over a whole prompt, picks the adapter that the prompt's task ships with."""
    split = prepared.config.evaluate.split
    picked: dict[str, list[str]] = {name: [] for name in names}
    for task, adapter in adapters.items():
        if adapter != BASE:
            texts = texts_of(prepared.tasks[task], split, _places(prepared, task))["prompt"]
            best: list[int] = arrow_scores(bank, names, prepared.chat.tokenizer, texts).argmax(1).tolist()
            picked[adapter] += [names[place] for place in best]
    right = [chosen == adapter for adapter, rows in picked.items() for chosen in rows]
    return {
        "adapters": list(names),
        "examples": len(right),
        "accuracy": float(np.mean(right)),
        "chosen": {
            adapter: {name: rows.count(name) / len(rows) for name in names} for adapter, rows in picked.items()
        },
    }
