"""What a router is worth: task scores under it against perfect routing, the shared adapter and the base.

report.json holds::

    {"router": kind, "features": key, "rows": split,
     "views": {"prompt" or "body": {the fields of quality.Quality}},
     "kinds": {KIND: accuracy on bodies}, "general": {SET: {"auroc", "routed"}}, "left_out": {TASK: the same},
     "tasks": {TASK: {"metric", "examples", "scores": {"base", "oracle", "routed", "routed_body", ROLE or NAME},
                      "routed": {"difference", "low", "high"}, "routed_body": the same}}}

`routed` is what a request with the whole prompt gets, `routed_body` what one gets that is routed by its body alone:
the part of a prompt that its task's prompts do not share. Differences are to `oracle`, the table's adapter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction, Split
from multitune.core.run_folder import RunFolder
from multitune.core.seeds import generator
from multitune.data.task_input import TaskInput
from multitune.evaluation.stats import bootstrap_plan, percentile_interval
from multitune.evaluation.transfer import corpus_score, resampled
from multitune.inference.predict import chosen_rows, predict_options, predict_rows
from multitune.model.bank import BASE, AdapterBank
from multitune.routing.features import Features
from multitune.routing.quality import accuracy_by_kind, left_out, outside, quality
from multitune.routing.router import Router, RouterRows, vectors
from multitune.training.prepare import PreparedRun

VIEWS = ("prompt", "body")
FITTED_ON: tuple[Split, Split] = ("train", "validation")
# Most rows of a set that a router is fitted on, keeps to calibrate by, and is tested on as strangers.
ROUTER_ROWS: dict[Split, int] = {"train": 1000, "validation": 200, "test": 500}


def task_texts(prepared: PreparedRun, name: str, split: Split) -> dict[str, list[str]]:
    """Prompts of a task for its router, and their bodies, drawn by the run's seed."""
    item = prepared.tasks[name]
    order = generator(prepared.config.seed, "router", name, split).permutation(len(item.tokens[split]))
    return texts_of(item, split, order[: ROUTER_ROWS[split]].tolist())


def texts_of(item: TaskInput, split: Split, places: Sequence[int]) -> dict[str, list[str]]:
    """Prompts and bodies of given rows: a body is what is left without the words that all training prompts share."""
    examples, kept = item.data.examples, item.tokens
    prompts = [examples[split][kept[split].kept[i]].prompt for i in places]
    sample = [examples["train"][i].prompt for i in kept["train"].kept[:200]]
    before = _same_start(sample)
    behind = _same_start([prompt[before:][::-1] for prompt in sample])
    bodies = [prompt[before : len(prompt) - behind] for prompt in prompts]
    return {"prompt": prompts, "body": bodies} if before or behind else {"prompt": prompts}


def _same_start(texts: Sequence[str]) -> int:
    """How many characters all texts begin with in common."""
    first, last = min(texts), max(texts)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def measure_routing(
    folder: RunFolder,
    prepared: PreparedRun,
    bank: AdapterBank,
    table: Mapping[str, Any],
    fitted: tuple[Router, Features, RouterRows],
) -> dict[str, Any]:
    """The report of a router on the rows of the final table, whose predictions are in the run folder.

    Args:
        folder: of the run.
        prepared: the run.
        bank: holds the table's adapters.
        table: from task to adapter, as table.json has it.
        fitted: the router, its features, and the rows that it was fitted on.
    """
    router, features, rows = fitted
    adapters = {task: row["adapter"] for task, row in table["tasks"].items()}
    split = prepared.config.evaluate.split
    options = predict_options(prepared.config, prepared.config.evaluate.limit)
    places = {task: chosen_rows(prepared.tasks[task], split, options) for task in adapters}
    test = vectors(features, {task: texts_of(prepared.tasks[task], split, at) for task, at in places.items()})
    seen = {view: {task: views.get(view, views["prompt"]) for task, views in test.items()} for view in VIEWS}
    general = {
        name: features.of(task_texts(prepared, name, split)["prompt"])
        for name, item in prepared.tasks.items()
        if item.general
    }
    bodies = np.concatenate(list(seen["body"].values()))
    return {
        "router": router.classifier.kind,
        "features": router.features_key,
        "rows": split,
        "views": {view: asdict(quality(router, of, adapters)) for view, of in seen.items()},
        "kinds": accuracy_by_kind(rows, seen["body"]),
        "general": {name: asdict(outside(router, bodies, of, adapters)) for name, of in general.items()},
        "left_out": left_out(router, rows, test, adapters),
        "tasks": {
            task: _task_report(folder, prepared, bank, adapters, (task, places[task], router, test[task]))
            for task in adapters
        },
    }


def held_quality(router: Router, adapters: Mapping[str, str]) -> dict[str, Any]:
    """View -> quality on the held-out rows that the router keeps, as report.json has it."""
    found: dict[str, Any] = {}
    for view in dict.fromkeys(router.held.views):
        rows = {task: router.held.rows_of(task, view) for task in router.classifier.tasks}
        found[view] = asdict(quality(router, rows, adapters))
    return found


def _task_report(
    folder: RunFolder,
    prepared: PreparedRun,
    bank: AdapterBank,
    adapters: Mapping[str, str],
    routed: tuple[str, Sequence[int], Router, Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """One task's scores by every subject that answered it, and under the router."""
    task, places, router, views = routed
    item, split = prepared.tasks[task], prepared.config.evaluate.split
    subjects = [BASE, *(plan.recipe.name for plan in prepared.plans if task in plan.tasks)]
    said = {name: read_predictions(folder.predictions(name, task, split)) for name in subjects}
    metric, plan = item.data.task.metric, bootstrap_plan(prepared.config)
    rows: tuple[TaskInput, Split, Sequence[int]] = (item, split, places)

    def answered(by: Sequence[str]) -> list[Prediction]:
        return answers(prepared, bank, rows, by, said)

    oracle = answered([adapters[task]] * len(places))
    scores = {name: corpus_score(metric, answered([name] * len(places))) for name in subjects}
    scores["oracle"] = corpus_score(metric, oracle)
    found: dict[str, Any] = {"metric": metric.name, "examples": len(places), "scores": scores}
    for view, label in (("prompt", "routed"), ("body", "routed_body")):
        decisions = router.decide(views.get(view, views["prompt"]), adapters)
        chosen = answered([decision.adapter for decision in decisions])
        scores[label] = corpus_score(metric, chosen)
        differences, _ = resampled(metric, oracle, chosen, plan)
        found[label] = asdict(percentile_interval(differences, scores[label] - scores["oracle"], plan.confidence))
    return found


def answers(
    prepared: PreparedRun,
    bank: AdapterBank,
    rows: tuple[TaskInput, Split, Sequence[int]],
    adapters: Sequence[str],
    said: Mapping[str, Sequence[Prediction]],
) -> list[Prediction]:
    """What each row's adapter says to it: taken from `said` where it stands there, else asked now.

    Args:
        prepared: the run that the rows are of.
        bank: holds the adapters.
        rows: a task, a split, and places of its rows.
        adapters: which one answers, for each place.
        said: adapter -> predictions that were made before, of these rows or others.
    """
    item, split, places = rows
    ids = [item.data.examples[split][item.tokens[split].kept[i]].id for i in places]
    found: dict[int, Prediction] = {}
    for adapter in dict.fromkeys(adapters):
        known = {prediction.id: prediction for prediction in said.get(adapter, ())}
        mine = [at for at, by in enumerate(adapters) if by == adapter]
        found |= {at: known[ids[at]] for at in mine if ids[at] in known}
        asked = [at for at in mine if ids[at] not in known]
        if asked:
            options = predict_options(prepared.config, None)
            chosen = (split, [places[at] for at in asked])
            found |= dict(zip(asked, predict_rows(bank, adapter, item, chosen, prepared.chat, options), strict=True))
    return [found[at] for at in range(len(places))]
