"""What a router is worth: task scores under it against perfect routing, the shared adapter and the base.

`routed` is what a request with the whole prompt gets, `routed_body` what one gets that is routed by its body alone:
the part of a prompt that its task's prompts do not share. Differences are to `oracle`, the table's adapter.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction, Split
from multitune.core.results.routing import Rejections, RoutedTask, RouterQuality, RouterReport, View
from multitune.core.results.scores import Difference
from multitune.core.seeds import generator
from multitune.data.task_input import TaskInput
from multitune.deployment.homes import OpenRun, TaskHome
from multitune.evaluation.resampling import corpus_score, resampled
from multitune.evaluation.stats import bootstrap_plan, percentile_interval
from multitune.inference.predict import predict_rows, rows_at
from multitune.model.bank import AdapterBank
from multitune.routing.features import Features
from multitune.routing.quality import accuracy_by_kind, left_out, outside, quality
from multitune.routing.router import Decision, Reason, Router, RouterRows, vectors
from multitune.tasks.metrics import Metric
from multitune.training.prepare import PreparedRun

VIEWS: tuple[View, ...] = ("prompt", "body")
FITTED_ON: tuple[Split, Split] = ("train", "validation")
# Most rows of a set that a router is fitted on, keeps to calibrate by, and is tested on as out-of-distribution.
ROUTER_ROWS: dict[Split, int] = {"train": 1000, "validation": 200, "test": 500}


def task_texts(prepared: PreparedRun, name: str, split: Split) -> dict[str, list[str]]:
    """Prompts of a task for its router, and their bodies, drawn by the run's seed."""
    item = prepared.tasks[name]
    order = generator(prepared.config.seed, "router", name, split).permutation(len(item.tokens[split]))
    return texts_of(item, split, order[: ROUTER_ROWS[split]].tolist())


def texts_of(item: TaskInput, split: Split, places: Sequence[int]) -> dict[str, list[str]]:
    """Prompts and bodies of given rows: a body is what is left without the words that all training prompts share."""
    examples, kept = item.data.examples, item.tokens
    prompts = [examples[split][kept[split].kept[i]].asked for i in places]
    sample = [examples["train"][i].asked for i in kept["train"].kept[:200]]
    before = _same_start(sample)
    behind = _same_start([prompt[before:][::-1] for prompt in sample])
    bodies = [prompt[before : len(prompt) - behind] for prompt in prompts]
    return {"prompt": prompts, "body": bodies} if before or behind else {"prompt": prompts}


def _same_start(texts: Sequence[str]) -> int:
    """How many characters all texts begin with in common."""
    first, last = min(texts), max(texts)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def measure_routing(
    run: OpenRun, adapters: Mapping[str, str], *, router: Router, features: Features, rows: RouterRows
) -> RouterReport:
    """The report of a router on the rows of the final table, whose predictions are in the run folder.

    Args:
        run: with all its adapters.
        adapters: task -> the adapter it ships with.
        router: a fitted one.
        features: that it was fitted on.
        rows: that it was fitted on.
    """
    split = run.config.evaluate.split
    test = vectors(features, {task: texts_of(run.homes[task].item, *run.homes[task].evaluated) for task in adapters})
    seen: dict[View, dict[str, np.ndarray]] = {
        view: {task: views.get(view, views["prompt"]) for task, views in test.items()} for view in VIEWS
    }
    general = {
        name: features.of(task_texts(run.main, name, split)["prompt"])
        for name, item in run.main.tasks.items()
        if item.general
    }
    bodies = np.concatenate(list(seen["body"].values()))
    return RouterReport(
        router=router.classifier.kind,
        features=router.features_key,
        rows=split,
        views={view: quality(router, of, adapters) for view, of in seen.items()},
        kinds=accuracy_by_kind(rows, seen["body"]),
        general={name: outside(router, bodies, of, adapters) for name, of in general.items()},
        left_out=left_out(router, rows, test, adapters),
        tasks={task: _routed_task(run, adapters, task=task, router=router, views=test[task]) for task in adapters},
    )


def held_quality(router: Router, adapters: Mapping[str, str]) -> dict[View, RouterQuality]:
    """View -> quality on the held-out rows that the router keeps."""
    found: dict[View, RouterQuality] = {}
    for view in VIEWS:
        if view in router.held.views:
            rows = {task: router.held.rows_of(task, view) for task in router.classifier.tasks}
            found[view] = quality(router, rows, adapters)
    return found


def _routed_task(
    run: OpenRun, adapters: Mapping[str, str], *, task: str, router: Router, views: Mapping[str, np.ndarray]
) -> RoutedTask:
    """One task's scores by every subject that answered it, and under the router."""
    home = run.homes[task]
    split, places = home.evaluated
    files = {name: home.folder.predictions(name, task, split) for name in home.subjects}
    known = {name: read_predictions(file) for name, file in files.items()}
    metric, plan = home.item.data.task.metric, bootstrap_plan(home.prepared.config)

    def answered(by: Sequence[str]) -> list[Prediction]:
        return answers(home, run.bank, split, places, adapters=by, known=known)

    oracle = answered([adapters[task]] * len(places))
    scores = {name: corpus_score(metric, answered([name] * len(places))) for name in known}
    scores["oracle"] = corpus_score(metric, oracle)
    changes: dict[str, Difference] = {}
    rejections: dict[View, Rejections] = {}
    for view, label in zip(VIEWS, ("routed", "routed_body"), strict=True):
        decisions = router.decide(views.get(view, views["prompt"]), adapters)
        chosen = answered([decision.adapter for decision in decisions])
        rejections[view] = _rejections(metric, decisions, oracle, chosen)
        scores[label] = corpus_score(metric, chosen)
        differences, _ = resampled(metric, oracle, chosen, plan)
        found = percentile_interval(differences, scores[label] - scores["oracle"], plan.confidence)
        changes[label] = Difference(difference=found.difference, low=found.low, high=found.high)
    return RoutedTask(
        metric=metric.name,
        examples=len(places),
        scores=scores,
        routed=changes["routed"],
        routed_body=changes["routed_body"],
        rejections=rejections,
    )


def _rejections(
    metric: Metric, decisions: Sequence[Decision], oracle: Sequence[Prediction], routed: Sequence[Prediction]
) -> Rejections:
    """What it cost, beside perfect routing, that some rows went to the base and others to the shared adapter."""
    best = corpus_score(metric, oracle)

    def of(reason: Reason) -> tuple[float, float]:
        rows = [decision.reason == reason for decision in decisions]
        mixed = [other if gone else own for gone, own, other in zip(rows, oracle, routed, strict=True)]
        return float(np.mean(rows)), best - corpus_score(metric, mixed)

    (rejected, rejected_cost), (unsure, unsure_cost) = of("out-of-distribution"), of("unsure")
    return Rejections(rejected=rejected, rejected_cost=rejected_cost, unsure=unsure, unsure_cost=unsure_cost)


def answers(
    home: TaskHome,
    bank: AdapterBank,
    split: Split,
    places: Sequence[int],
    *,
    adapters: Sequence[str],
    known: Mapping[str, Sequence[Prediction]],
) -> list[Prediction]:
    """What each row's adapter answers: taken from `known` where it stands there, else asked now.

    Args:
        home: of the task.
        bank: holds the adapters.
        split: of its rows.
        places: of the rows in the split.
        adapters: which one answers, for each place.
        known: adapter -> predictions that were made before, of these rows or others.
    """
    ids = [row.id for row in rows_at(home.item, split, places)]
    found: dict[int, Prediction] = {}
    for adapter in dict.fromkeys(adapters):
        before = {prediction.id: prediction for prediction in known.get(adapter, ())}
        mine = [at for at, by in enumerate(adapters) if by == adapter]
        found |= {at: before[ids[at]] for at in mine if ids[at] in before}
        asked = [at for at in mine if ids[at] not in before]
        if asked:
            model = home.model(bank, adapter)
            found |= dict(zip(asked, predict_rows(model, home.item, split, [places[at] for at in asked]), strict=True))
    return [found[at] for at in range(len(places))]
