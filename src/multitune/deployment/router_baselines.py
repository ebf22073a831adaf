"""What choosing without a router would be worth: one average of all adapters for every text, and Arrow.

Measured only where `router.compare` asks for it: the average answers every evaluated row once more, by an adapter
whose rank is the sum of theirs; Arrow takes a forward pass of the bare backbone over the first tokens of every prompt.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from multitune.core.bases import BASE
from multitune.core.results.routing import ArrowBaseline, RouterBaselines, UniformBaseline
from multitune.deployment.homes import OpenRun
from multitune.deployment.router_report import texts_of
from multitune.evaluation.resampling import corpus_score
from multitune.inference.predict import predict_rows
from multitune.routing.arrow import arrow_scores

UNIFORM = "uniform average"  # no adapter has a blank in its name


def measure_baselines(run: OpenRun, adapters: Mapping[str, str]) -> RouterBaselines:
    """What `router.compare` names, on the rows of the final table.

    Args:
        run: with all its adapters; it ends as it began.
        adapters: task -> the adapter it ships with.
    """
    names = list(dict.fromkeys(name for name in adapters.values() if name != BASE))
    asked = run.config.router.compare
    measured = asked if len(names) > 1 else ()
    return RouterBaselines(
        compared=asked,
        uniform=_uniform(run, adapters, names) if "uniform" in measured else None,
        arrow=_arrow(run, adapters, names) if "arrow" in measured else None,
    )


def _uniform(run: OpenRun, adapters: Mapping[str, str], names: Sequence[str]) -> UniformBaseline:
    """Each task's score under the average of what ships: the least that a router should reach."""
    bank = run.bank
    average = bank.averaged(UNIFORM, names)
    bank.attach(UNIFORM, average.slots, average.weights.to(bank.backbone.dtype))
    scores: dict[str, float] = {}
    try:
        for task in adapters:
            home = run.homes[task]
            answers = predict_rows(home.model(bank, UNIFORM), home.item, *home.evaluated)
            scores[task] = corpus_score(home.item.data.task.metric, answers)
    finally:
        bank.remove(UNIFORM)
    return UniformBaseline(adapters=tuple(names), scores=scores)


def _arrow(run: OpenRun, adapters: Mapping[str, str], names: Sequence[str]) -> ArrowBaseline:
    """How often Arrow, summed over a whole prompt, picks the adapter that the prompt's task ships with."""
    picked: dict[str, list[str]] = {name: [] for name in names}
    for task, adapter in adapters.items():
        if adapter != BASE:
            home = run.homes[task]
            texts = texts_of(home.item, *home.evaluated)["prompt"]
            best: list[int] = arrow_scores(run.bank, names, home.prepared.chat.tokenizer, texts).argmax(1).tolist()
            picked[adapter] += [names[place] for place in best]
    right = [chosen == adapter for adapter, rows in picked.items() for chosen in rows]
    chosen = {adapter: {name: rows.count(name) / len(rows) for name in names} for adapter, rows in picked.items()}
    return ArrowBaseline(adapters=tuple(names), examples=len(right), accuracy=float(np.mean(right)), chosen=chosen)
