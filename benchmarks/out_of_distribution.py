"""OOD detection: how well each score separates texts of no task from the tasks' own rows, and how many are routed.

`make bench PART=out_of_distribution DATA=folder`: features of the ten tasks of mixture10.yaml, no training. Texts of
no task are test rows of dolly, and each task in turn for a router without it. A score's threshold rejects 5% of the
held-out rows in each view; `before` and `now` are whole routers: that of commit bcc5100, and ours.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.finance8 import local_sources
from benchmarks.record import RESULTS, record
from multitune.config.load import load_config
from multitune.deployment.router_report import task_texts
from multitune.model.backbone import load_backbone
from multitune.routing.classifiers import DiscriminantClassifier, Views, fit_classifier
from multitune.routing.discriminant import SHRINKAGE
from multitune.routing.features import Features, open_features
from multitune.routing.quality import left_out, outside, quality
from multitune.routing.router import Router, RouterRows, fit_router, held_rows, vectors
from multitune.training.prepare import prepare_run

CONFIG = Path(__file__).parent / "mixture10.yaml"
COMMAND = "make bench PART=out_of_distribution DATA=folder"
BEFORE, NOW = 0.02, 0.05  # shares of held-out rows
Score = Callable[[DiscriminantClassifier, RouterRows, np.ndarray], np.ndarray]


def main() -> None:
    """Features once, then every score and both routers."""
    found = mixture_texts()
    rows, dolly, test = found.rows, found.dolly, vectors(found.features, found.tests)
    table = shipped()
    figures: dict[str, Any] = {"scores": {}, "routers": {}}
    for name, score in SCORES.items():
        figures["scores"][name] = by_score(score, rows, test, dolly)
        print(name, json.dumps(figures["scores"][name]))
    ours = {"now": fit_router("discriminant", "", rows)}
    ours["now, no general texts"] = fit_router("discriminant", "", RouterRows(rows.train, rows.held, {}))
    figures["routers"]["before"] = before(rows, test, dolly, table)
    for name, router in ours.items():
        known = rows if name == "now" else RouterRows(rows.train, rows.held, {})
        figures["routers"][name] = by_router(router, known, test, dolly, table)
    print(json.dumps(figures["routers"], indent=2))
    record("out_of_distribution", COMMAND, figures)


@dataclass(frozen=True, slots=True)
class MixtureTexts:
    """The ten tasks as a router meets them."""

    features: Features
    rows: RouterRows  # what it is fitted on
    tests: Mapping[str, Mapping[str, list[str]]]  # task -> view -> texts of test rows
    dolly: np.ndarray  # test rows of dolly, (row, width)


def mixture_texts() -> MixtureTexts:
    """Read the tasks of mixture10.yaml, from the folder DATA where that is set."""
    with tempfile.TemporaryDirectory() as folder:
        sources = local_sources(CONFIG, Path(os.environ["DATA"]), Path(folder)) if "DATA" in os.environ else []
        prepared = prepare_run(load_config(CONFIG, [f"output={folder}", *sources]))
        base = load_backbone(prepared.ref, "cpu", prepared.config.dtype)
        seen = open_features("embedding", base, prepared.chat.tokenizer)
        train, held, tests = (
            {task.name: task_texts(prepared, task.name, split) for task in prepared.config.tasks}
            for split in ("train", "validation", "test")
        )
        dolly = {split: seen.of(task_texts(prepared, "dolly", split)["prompt"]) for split in ("train", "test")}
    rows = RouterRows(vectors(seen, train), vectors(seen, held), {"dolly": dolly["train"]})
    return MixtureTexts(seen, rows, tests, dolly["test"])


def shipped() -> dict[str, str]:
    """The table of the recorded run: task -> the adapter it ships with."""
    recorded = json.loads((RESULTS / "mixture10.json").read_text("utf-8"))
    return {task: row["ships_with"] for task, row in recorded["figures"]["tasks"].items()}


def prototypes(fitted: DiscriminantClassifier, rows: np.ndarray) -> np.ndarray:
    """Distances to the prototypes of tasks, not of general texts."""
    known = [not name.startswith("*") for name in fitted.discriminant.means]
    return fitted.discriminant.distances(rows)[:, known]


def nearest(fitted: DiscriminantClassifier, known: RouterRows, rows: np.ndarray) -> np.ndarray:
    return -prototypes(fitted, rows).min(1)


def own_background(fitted: DiscriminantClassifier, known: RouterRows, rows: np.ndarray) -> np.ndarray:
    """Ren et al. 2021 to the letter: a Gaussian with a covariance of its own over all rows, general ones included."""
    every = [part for views in known.train.values() for part in views.values()]
    every = np.concatenate([*every, *known.general.values()]).astype(np.float64)
    covariance = np.cov(every.T)
    precision = np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance)))
    centred = rows - every.mean(0)
    return ((centred @ precision) * centred).sum(1) - prototypes(fitted, rows).min(1)


def general_class(fitted: DiscriminantClassifier, known: RouterRows, rows: np.ndarray) -> np.ndarray:
    general = [name.startswith("*") for name in fitted.discriminant.means]
    return fitted.discriminant.distances(rows)[:, general].min(1) - prototypes(fitted, rows).min(1)


def middle(fitted: DiscriminantClassifier, known: RouterRows, rows: np.ndarray) -> np.ndarray:
    means = [mean for name, mean in fitted.discriminant.means.items() if not name.startswith("*")]
    around = prototypes(fitted, np.mean(means, axis=0)[None]).mean()
    return prototypes(fitted, rows).mean(1) - around - prototypes(fitted, rows).min(1)


def both(fitted: DiscriminantClassifier, known: RouterRows, rows: np.ndarray) -> np.ndarray:
    return fitted.read(rows).familiarity


SCORES: dict[str, Score] = {
    "nearest distance": nearest,
    "relative, background with its own covariance": own_background,
    "relative to general texts": general_class,
    "relative to the middle of all tasks": middle,
    "relative to the nearer of the two": both,
}


def by_score(score: Score, rows: RouterRows, test: Views, dolly: np.ndarray) -> dict[str, float]:
    """AUROC and share above the threshold, for dolly and as a mean over left-out tasks."""
    found = {"dolly": detection(score, rows, test, dolly)}
    others: list[dict[str, float]] = []
    for task in rows.train:
        train, held, inside = ({n: v for n, v in of.items() if n != task} for of in (rows.train, rows.held, test))
        others.append(
            detection(score, RouterRows(train, held, rows.general), inside, np.concatenate([*test[task].values()]))
        )
    found["left_out"] = {key: float(np.mean([one[key] for one in others])) for key in others[0]}
    return {f"{name} {key}": round(value, 3) for name, one in found.items() for key, value in one.items()}


def detection(score: Score, known: RouterRows, inside: Views, ood: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    fitted = fit_classifier("discriminant", known.train, known.general)
    assert isinstance(fitted, DiscriminantClassifier)
    views = [np.concatenate([of[view] for of in known.held.values() if view in of]) for view in ("prompt", "body")]
    least = min(float(np.quantile(score(fitted, known, rows), NOW, method="lower")) for rows in views)
    bodies = score(fitted, known, np.concatenate([of.get("body", of["prompt"]) for of in inside.values()]))
    others = score(fitted, known, ood)
    marks = np.concatenate([np.ones(len(bodies)), np.zeros(len(others))])
    return {
        "auroc": float(roc_auc_score(marks, np.concatenate([bodies, others]))),
        "routed": float((others >= least).mean()),
        "own_abstained": float((bodies < least).mean()),
    }


def by_router(
    router: Router, rows: RouterRows, test: Views, dolly: np.ndarray, table: Mapping[str, str]
) -> dict[str, float]:
    """What a whole router is worth, thresholds on probability included."""
    bodies = {task: of.get("body", of["prompt"]) for task, of in test.items()}
    seen, strange = quality(router, bodies, table), outside(router, np.concatenate([*bodies.values()]), dolly, table)
    others = left_out(router, rows, test, table)
    return {
        "right_task": round(seen.accuracy, 3),
        "right_adapter": round(seen.same_adapter, 3),
        "own_abstained": round(seen.abstained, 3),
        "dolly_auroc": round(strange.auroc, 3),
        "dolly_routed": round(strange.routed, 3),
        "left_out_auroc": round(float(np.mean([one.auroc for one in others.values()])), 3),
        "left_out_routed": round(float(np.mean([one.routed for one in others.values()])), 3),
    }


def before(rows: RouterRows, test: Views, dolly: np.ndarray, table: Mapping[str, str]) -> dict[str, float]:
    """The router of commit bcc5100: two thresholds, each the 2% quantile over all held-out rows."""
    names = list(rows.train)

    def made(tasks: list[str]) -> Callable[[np.ndarray], np.ndarray]:
        train, held = ({name: of[name] for name in tasks} for of in (rows.train, rows.held))
        router = Router("", fit_classifier("discriminant", train, {}), held_rows(held), np.zeros((0, 1)))
        router.calibrate()
        kept = router.held.features.astype(np.float32)
        serves = np.array([[table[task] == one for one in dict.fromkeys(table.values())] for task in tasks])
        fitted = router.classifier
        assert isinstance(fitted, DiscriminantClassifier)

        def best(of: np.ndarray) -> np.ndarray:
            return (router.probabilities(of) @ serves).max(1)

        floor = min(0.5, float(np.quantile(best(kept), BEFORE)))
        far = float(np.quantile(nearest(fitted, rows, kept), BEFORE))
        return lambda of: (nearest(fitted, rows, of) >= far) & (best(of) >= floor)

    routed = made(names)
    bodies = np.concatenate([of.get("body", of["prompt"]) for of in test.values()])
    others = [made([n for n in names if n != task])(np.concatenate([*test[task].values()])).mean() for task in names]
    recorded = json.loads((RESULTS / "mixture10.json").read_text("utf-8"))["figures"]["router"]
    return {
        "right_task": round(recorded["views"]["body"]["accuracy"], 3),
        "right_adapter": round(recorded["views"]["body"]["same_adapter"], 3),
        "own_abstained": round(1 - float(routed(bodies).mean()), 3),
        "dolly_auroc": round(recorded["general"]["dolly"]["auroc"], 3),
        "dolly_routed": round(float(routed(dolly).mean()), 3),
        "left_out_auroc": round(float(np.mean([one.auroc for one in recorded["left_out"].values()])), 3),
        "left_out_routed": round(float(np.mean(others)), 3),
    }


if __name__ == "__main__":
    main()
