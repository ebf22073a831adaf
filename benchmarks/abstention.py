"""Rejections by a share of rows against rejections by what they cost: own rows, texts of no task, and scores.

`make bench PART=abstention DATA=folder`: features of the ten tasks of mixture10.yaml, of three triples of them and of
the team example, no training. Everything is routed by its body alone. Texts of no task are of twelve kinds; none of
them stands among the built-in ones. `before` is the rule of commit 6442222 (at most 5% of held-out rows rejected, no
built-in texts), `now` is ours, each with and without the general texts of dolly. What a rejected row loses is told
by recorded scores. RUN=folder is a finished run of the team example: its answers, row by row, give the scores.
"""

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.out_of_distribution import MixtureTexts, mixture_texts
from benchmarks.record import RESULTS, record
from multitune.config.load import load_config
from multitune.core.bases import BASE
from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction
from multitune.core.results.routing import RoutingTable
from multitune.core.run_folder import RunFolder
from multitune.deployment.deploy import route_costs
from multitune.deployment.router_report import task_texts, texts_of
from multitune.evaluation.resampling import corpus_score
from multitune.routing.costs import LEAST_LOST, OUTSIDE_COST, RouteCosts, TaskCost
from multitune.routing.features import Features
from multitune.routing.general_texts import general_vectors
from multitune.routing.router import Router, RouterRows, fit_router, vectors
from multitune.training.prepare import PreparedRun, prepare_run

COMMAND = "make bench PART=abstention DATA=folder RUN=folder"
TEAM = Path(__file__).parent.parent / "examples" / "team" / "team.yaml"
TRIPLES = (("tfns", "support", "pubmedqa"), ("headline", "gsm8k", "fiqa_sa"), ("fpb", "convfinqa", "support"))
OTHER_SETS = {  # kind -> file of DATA, column; texts of tasks that no run here knows
    "instructions": ("dolly_partial/train_maybe_cut.jsonl", "instruction"),
    "exam questions": ("mmlu/test.jsonl", "question"),
    "film reviews": ("cs224n_dfp/sst_dev.jsonl", "sentence"),
    "questions of users": ("cs224n_dfp/quora_dev.jsonl", "sentence1"),
    "posts": ("toxicity_surge/all.jsonl", "text"),
    "short scenes": ("bbq/Age.jsonl", "context"),
}
ROWS = 200  # of each kind
SHARE, UNSURE = 0.05, 0.2  # of the rule before: rejected at most, and the part of it for being unsure
Rejects = Callable[[np.ndarray], np.ndarray]  # features (row, width) -> whether the base answers, bool (row,)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Tasks of one run, as a router meets them."""

    rows: RouterRows
    bodies: Mapping[str, np.ndarray]  # task -> test rows
    outside: Mapping[str, np.ndarray]  # kind -> texts of no task
    costs: RouteCosts
    scores: Mapping[str, tuple[float, float]]  # task -> of its adapter, of the base


def main() -> None:
    """Every scenario under both rules, the nulls, and the scores of a run row by row."""
    found = mixture_texts()
    prepared = prepare_run(load_config(TEAM))
    figures: dict[str, Any] = {"scenarios": {}}
    made = scenarios(found, prepared)
    for name, scenario in made.items():
        figures["scenarios"][name] = measured(scenario, general_vectors(found.features))
        print(name, json.dumps(figures["scenarios"][name], indent=1), flush=True)
    figures["null"] = nulls(made["team"], general_vectors(found.features))
    if "RUN" in os.environ:
        figures["team, scores by body"] = by_rows(RunFolder(Path(os.environ["RUN"])), prepared, found.features)
    print(json.dumps({name: value for name, value in figures.items() if name != "scenarios"}, indent=1))
    record("abstention", COMMAND, figures)


def scenarios(found: MixtureTexts, prepared: PreparedRun) -> dict[str, Scenario]:
    """Name -> tasks, with texts of no task: other sets, own texts, and bodies of the tasks that are not there."""
    recorded = json.loads((RESULTS / "mixture10.json").read_text("utf-8"))["figures"]["tasks"]
    scores = {task: (row["oracle"], row["base"]) for task, row in recorded.items()}
    lost = {
        task: TaskCost(max(LEAST_LOST, row["oracle"] - row["base"]), max(LEAST_LOST, row["oracle"] - row["shared"]))
        for task, row in recorded.items()
    }
    every = {task: found.features.of(views.get("body", views["prompt"])[:150]) for task, views in found.tests.items()}
    other = outside_texts()
    common = {kind: found.features.of(texts) for kind, texts in other.items()} | {"general (dolly)": found.dolly}

    def among(tasks: Sequence[str]) -> Scenario:
        train, held = ({task: of[task] for task in tasks} for of in (found.rows.train, found.rows.held))
        words = [word for task in tasks for text in found.tests[task]["prompt"] for word in text.split()]
        unknown = [rows[:60] for task, rows in every.items() if task not in tasks]
        outside = {**common, "suffixes": found.features.of(suffixed(other["instructions"], words))}
        outside |= {"unknown tasks": np.concatenate(unknown)} if unknown else {}
        rows, own = RouterRows(train, held, found.rows.general), {task: every[task] for task in tasks}
        return Scenario(rows, own, outside, RouteCosts(tasks={t: lost[t] for t in tasks}), scores)

    names = [task.name for task in prepared.config.tasks]
    views = [
        vectors(found.features, {name: task_texts(prepared, name, split) for name in names})
        for split in ("train", "validation", "test")
    ]
    team = among(["banking77"])  # for what lies outside: the team example is made of it, in part
    words = [word for name in names for text in task_texts(prepared, name, "test")["body"] for word in text.split()]
    outside = {**team.outside, "suffixes": found.features.of(suffixed(other["instructions"], words))}
    rows = RouterRows(views[0], views[1], found.rows.general)
    bodies = {name: views[2][name]["body"] for name in names}
    assumed = RouteCosts(tasks=dict.fromkeys(names, TaskCost(0.55, 0.05)))
    everything = {"team": Scenario(rows, bodies, outside, assumed, dict.fromkeys(names, (0.78, 0.23)))}
    return everything | {"ten tasks": among(list(every))} | {", ".join(tasks): among(tasks) for tasks in TRIPLES}


def outside_texts() -> dict[str, list[str]]:
    """Kind -> texts of no task."""
    found: dict[str, list[str]] = json.loads(Path(__file__).with_name("ood_texts.json").read_text("utf-8"))
    del found["suffixes"]
    for kind, (file, column) in OTHER_SETS.items():
        with (Path(os.environ["DATA"]) / file).open(encoding="utf-8") as lines:
            found[kind] = random.Random(1).sample([json.loads(line)[column] for line in lines], ROWS)
    pool = [*found["instructions"], *found["exam questions"], *found["film reviews"]]
    chance = random.Random(5)
    return {**found, "very long": ["\n\n".join(chance.sample(pool, 40)) for _ in range(40)]}


def suffixed(texts: Sequence[str], words: Sequence[str]) -> list[str]:
    """Texts of no task with an end that is to mislead a router: noise and orders, or five words of the tasks."""
    chance, made = random.Random(6), json.loads(Path(__file__).with_name("ood_texts.json").read_text("utf-8"))
    ends = (lambda: chance.choice(made["suffixes"]), lambda: " ".join(chance.sample(words, 5)))
    return [f"{text} {ends[place % 2]()}" for place, text in enumerate(texts[:100])]


def by_share(router: Router, tasks: Sequence[str]) -> Rejects:
    """The rule before: fewest rejected and outside let in, as shares, at most 5% of the held-out rows of a view."""
    held = router.held.features.astype(np.float32)
    scores, own = router.classifier.read(held)
    outside, views = np.sort(router.outside_familiarity(held)), np.array(router.held.views)
    serves = np.eye(len(tasks))

    def least(values: np.ndarray, share: float) -> float:
        return min(float(np.quantile(values[views == view], share, method="lower")) for view in set(views))

    most = least(own, (1 - UNSURE) * SHARE)
    points = np.append(np.sort(own[own < most]), most)
    away = np.searchsorted(np.sort(own), points) / len(own)
    point = float(points[(away + 1 - np.searchsorted(outside, points) / len(outside)).argmin()])
    below = outside[outside < point]
    point = (point + float(below[-1])) / 2 if len(below) else point
    floor = min(0.5, least((router.probabilities(held) @ serves).max(1), UNSURE * SHARE))
    lowest = scores.max(1).min()

    def rejects(rows: np.ndarray) -> np.ndarray:
        scores, familiarity = router.classifier.read(rows)
        known = (familiarity >= point) & (scores.max(1) >= lowest)
        return ~known | (router.probabilities(rows).max(1) < floor)

    return rejects


def by_cost(router: Router) -> Rejects:
    """Our rule, as the router decides."""
    table = {task: task for task in router.classifier.tasks}
    return lambda rows: np.array([one.adapter == BASE for one in router.decide(rows, table)])


def measured(scenario: Scenario, built_in: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Rule -> share of own rows rejected by task, score kept, and share of texts of no task that are routed."""
    found: dict[str, Any] = {}
    for general, texts in (("", {}), (" with dolly", scenario.rows.general)):
        rows = replace(scenario.rows, general=texts)
        before = fit_router("discriminant", "", rows)
        found[f"before{general}"] = figures_of(by_share(before, before.classifier.tasks), scenario)
        now = fit_router("discriminant", "", replace(rows, general={**texts, **built_in}), scenario.costs)
        found[f"now{general}"] = figures_of(by_cost(now), scenario)
    return found


def figures_of(rejects: Rejects, scenario: Scenario) -> dict[str, Any]:
    own = {task: float(rejects(rows).mean()) for task, rows in scenario.bodies.items()}
    kept = {
        task: 1 - share * max(0.0, scenario.scores[task][0] - scenario.scores[task][1]) / scenario.scores[task][0]
        for task, share in own.items()
        if scenario.scores[task][0]
    }
    routed = {kind: float(1 - rejects(rows).mean()) for kind, rows in scenario.outside.items()}
    return {
        "own rejected": {task: round(share, 3) for task, share in own.items()},
        "least kept of oracle, by rejections": round(min(kept.values()), 3),
        "routed": {kind: round(share, 3) for kind, share in routed.items()},
        "routed, mean of kinds": round(float(np.mean(list(routed.values()))), 3),
        "kinds above 10%": sum(share > 0.1 for share in routed.values()),
    }


def nulls(scenario: Scenario, built_in: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Own rows rejected where outside texts cost nothing, and where they are the tasks' own rows."""
    own = np.concatenate(list(scenario.bodies.values()))
    free = fit_router("discriminant", "", replace(scenario.rows, general=built_in), replace(scenario.costs, outside=0))
    same = fit_router("discriminant", "", replace(scenario.rows, general={}), scenario.costs)
    same.outside = same.held.features
    same.calibrate()
    return {
        "own rejected, outside texts cost nothing": float(by_cost(free)(own).mean()),
        "own rejected, outside texts are the tasks' own rows": float(by_cost(same)(own).mean()),
    }


def by_rows(run: RunFolder, prepared: PreparedRun, features: Features) -> dict[str, Any]:
    """Scores of a finished run by body: perfect routing, both rules, and the nulls; every task with its own table."""
    table = RoutingTable.read(run.routing_versions[-1] / "table.json")
    names = list(table.tasks)
    train, held = (
        vectors(features, {name: task_texts(prepared, name, split) for name in names})
        for split in ("train", "validation")
    )
    built_in = general_vectors(features)
    old = fit_router("discriminant", "", RouterRows(train, held, {}))
    costs = route_costs(table.tasks, "shared", OUTSIDE_COST)
    now = fit_router("discriminant", "", RouterRows(train, held, built_in), costs)
    before, found = by_share(old, names), {}
    for name in names:
        item = prepared.tasks[name]
        rows = item.data.examples["test"]
        bodies = features.of(texts_of(item, "test", range(len(item.tokens["test"])))["body"])
        ids = [rows[kept].id for kept in item.tokens["test"].kept]
        known = {
            one: {p.id: p for p in read_predictions(run.predictions(one, name, "test"))}
            for one in {BASE, "shared", table.adapters[name]}
        }

        def score(by: Sequence[str], known: Mapping[str, Mapping[str, Prediction]] = known, ids: list[str] = ids):
            return [known[adapter if adapter in known else BASE][row] for adapter, row in zip(by, ids, strict=True)]

        metric, decisions = item.data.task.metric, now.decide(bodies, table.adapters)
        places = old.probabilities(bodies).argmax(1)
        likeliest = [table.adapters[old.classifier.tasks[place]] for place in places]
        ways = {
            "oracle": [table.adapters[name]] * len(ids),
            "before": [BASE if gone else one for gone, one in zip(before(bodies), likeliest, strict=True)],
            "now": [one.adapter for one in decisions],
            "base": [BASE] * len(ids),
        }
        found[name] = {way: round(corpus_score(metric, score(by)), 3) for way, by in ways.items()} | {
            "rejected before": round(float(before(bodies).mean()), 3),
            "rejected now": round(float(np.mean([one.reason == "out-of-distribution" for one in decisions])), 3),
            "unsure now": round(float(np.mean([one.reason == "unsure" for one in decisions])), 3),
        }
    return found


if __name__ == "__main__":
    main()
