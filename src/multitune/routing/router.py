"""Which adapter answers a text: features, a classifier, calibrated probabilities, and abstention where none fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from multitune.core.errors import RouterError
from multitune.core.files import json_text
from multitune.core.results.base import renamed
from multitune.core.seals import load_tensors, unsealed
from multitune.core.untrusted import load_json
from multitune.routing.classifiers import (
    Classifier,
    DiscriminantClassifier,
    General,
    Views,
    fit_classifier,
    open_classifier,
)
from multitune.routing.features import Features

if TYPE_CHECKING:
    from torch import Tensor

MAX_ABSTAINED = 0.05  # most of the tasks' own held-out rows, in each view, that may go to the base
UNSURE = 0.2  # part of them that may be rejected as unsure; the rest as out-of-distribution
SURE = 0.5  # a probability that is always enough
DIGITS = 9  # of a probability, before anything is decided by it: those behind depend on the other rows
HELD_BACK = 4  # every fourth text of a general set is not fitted on, but shows how familiar outside look
CONFIG, ARRAYS = "router.json", "router.safetensors"
# What older versions called parts of these files -> the name now.
OLDER_NAMES = {"turned_away": "max_abstained", "unfamiliar": "threshold", "strangers": "outside"}
Reason = Literal["routed", "out-of-distribution", "unsure"]
Texts = Mapping[str, Mapping[str, Sequence[str]]]  # task -> view -> texts


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one text goes. `adapter` is `base` unless the reason is `routed`."""

    task: str  # the likeliest
    adapter: str
    probability: float  # of the adapter: that of all tasks it serves
    reason: Reason


@dataclass(slots=True)
class Held:
    """Features of held-out rows, which calibrate, and show what a change of the router does."""

    features: np.ndarray  # float16 (row, width)
    tasks: list[str]
    views: list[str]

    def rows_of(self, task: str, view: str) -> np.ndarray:
        """The rows of a task in one view, float32 (row, width)."""
        mine = [owner == (task, view) for owner in zip(self.tasks, self.views, strict=True)]
        return self.features[mine].astype(np.float32)


@dataclass(slots=True)
class Router:
    """A classifier with the temperature and thresholds that held-out rows gave it."""

    features_key: str
    classifier: Classifier
    held: Held
    outside: np.ndarray  # float16 (row, width): texts of no task that the classifier did not see; none is fine
    max_abstained: float = MAX_ABSTAINED
    temperature: float = 1.0
    threshold: float = -np.inf  # below this familiarity a row is out-of-distribution
    lowest: float = -np.inf  # nor is it where no task's score reaches this, which every held-out row's does
    _floors: dict[bytes, float] = field(default_factory=dict[bytes, float])  # by which task has which adapter

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Calibrated probability of each task, float64 (row, task)."""
        return self._calibrated(self.classifier.read(features).scores)

    def _calibrated(self, scores: np.ndarray) -> np.ndarray:
        logits = scores / self.temperature
        logits -= logits.max(1, keepdims=True)
        weights = np.exp(logits)
        return weights / weights.sum(1, keepdims=True)

    def decide(self, features: np.ndarray, table: Mapping[str, str]) -> list[Decision]:
        """Where each row goes by a table from task to adapter; similar tasks that share one need not be distinguished.

        Raises:
            RouterError: a task of the router has no row in the table.
        """
        return self.decide_with_probabilities(features, table)[0]

    def decide_with_probabilities(
        self, features: np.ndarray, table: Mapping[str, str]
    ) -> tuple[list[Decision], np.ndarray]:
        """`decide`, and the `probabilities` by which that was done.

        Raises:
            RouterError: a task of the router has no row in the table.
        """
        if not len(features):
            return [], np.zeros((0, len(self.classifier.tasks)))
        scores, familiarity = self.classifier.read(features)
        probabilities = self._calibrated(scores)
        adapters, serves = self._served(table)
        tasks, by_adapter = probabilities.argmax(1), (probabilities @ serves).round(DIGITS)
        known = (familiarity >= self.threshold) & (scores.max(1) >= self.lowest)
        least = self._floor(serves)
        decisions: list[Decision] = []
        for task, row, familiar in zip(tasks, by_adapter, known, strict=True):
            best = int(row.argmax())
            reason: Reason = "out-of-distribution" if not familiar else "routed" if row[best] >= least else "unsure"
            adapter = adapters[best] if reason == "routed" else "base"
            decisions.append(Decision(self.classifier.tasks[task], adapter, float(row[best]), reason))
        return decisions, probabilities

    def _served(self, table: Mapping[str, str]) -> tuple[list[str], np.ndarray]:
        """The table's adapters, and which tasks each serves, bool (task, adapter)."""
        missing = [task for task in self.classifier.tasks if task not in table]
        if missing:
            raise RouterError(f"the routing table has no row for task {missing[0]!r}, which the router knows")
        adapters = list(dict.fromkeys(table[task] for task in self.classifier.tasks))
        return adapters, np.array([[table[task] == adapter for adapter in adapters] for task in self.classifier.tasks])

    def _floor(self, serves: np.ndarray) -> float:
        """The probability below which a row is unsure: few held-out rows are. Found once per table."""
        key = serves.tobytes()  # its height, the number of tasks, is fixed
        if key not in self._floors:
            best = (self.probabilities(self.held.features.astype(np.float32)) @ serves).max(1)
            self._floors[key] = min(SURE, self._least(best, UNSURE * self.max_abstained))
        return self._floors[key]

    def calibrate(self) -> None:
        """Choose the temperature by likelihood, and the threshold of familiarity by held-out rows and outside ones.

        Source: temperature scaling, Guo et al. 2017, arXiv:1706.04599.
        """
        from scipy.optimize import minimize_scalar

        features = self.held.features.astype(np.float32)
        scores, familiarity = self.classifier.read(features)
        owners = [self.classifier.tasks.index(task) for task in self.held.tasks]

        def loss(log_temperature: float) -> float:
            logits = scores / np.exp(log_temperature)
            return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(owners)), owners]).mean())

        self.temperature = float(np.exp(minimize_scalar(loss, bounds=(-3.0, 8.0), method="bounded").x))
        most = self._least(familiarity, (1.0 - UNSURE) * self.max_abstained)
        self.threshold = operating_point(familiarity, self._outside_familiarity(features), most)
        self.lowest = float(scores.max(1).min())
        self._floors.clear()

    def _least(self, values: np.ndarray, share: float) -> float:
        """The highest threshold on values of the held-out rows that rejects at most a share of each view."""
        views = np.array(self.held.views)
        return min(float(np.quantile(values[views == view], share, method="lower")) for view in set(self.held.views))

    def _outside_familiarity(self, features: np.ndarray) -> np.ndarray:
        """How familiar texts of no task look: general ones, or without those each task's own to all the others."""
        if len(self.outside):
            return self.classifier.read(self.outside.astype(np.float32)).familiarity
        tasks, owners = self.classifier.tasks, np.array(self.held.tasks)
        if len(tasks) < 2:
            return np.zeros(0)
        found = [self.classifier.without(task).read(features[owners == task]).familiarity for task in tasks]
        return np.concatenate(found)

    def add(self, task: str, train: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray]) -> None:
        """One more task: its prototypes, its held-out rows, and the calibration anew.

        Raises:
            RouterError: the task is known already, or this kind of router must be fitted as a whole.
        """
        if task in self.classifier.tasks:
            raise RouterError(f"the router knows task {task!r} already")
        self.require_growing().add(task, train)
        self.held = joined(self.held, held_rows({task: held}))
        self.calibrate()

    def remove(self, task: str) -> None:
        """Remove a task.

        Raises:
            RouterError: the task is unknown or the last one, or this kind must be fitted as a whole.
        """
        if task not in self.classifier.tasks:
            raise RouterError(f"the router knows no task {task!r}")
        if len(self.classifier.tasks) == 1:
            raise RouterError(f"task {task!r} is the last one; a router without tasks routes nothing")
        self.require_growing().remove(task)
        kept = [i for i, owner in enumerate(self.held.tasks) if owner != task]
        tasks, views = [self.held.tasks[i] for i in kept], [self.held.views[i] for i in kept]
        self.held = Held(self.held.features[kept], tasks, views)
        self.calibrate()

    def require_growing(self) -> DiscriminantClassifier:
        """The classifier, if it takes in and forgets single tasks.

        Raises:
            RouterError: it must be fitted as a whole.
        """
        if not isinstance(self.classifier, DiscriminantClassifier):
            raise RouterError(
                f"a router of kind {self.classifier.kind!r} cannot take in or forget a task. Fit one that can: "
                "multitune select … --set router.kind=discriminant"
            )
        return self.classifier

    def files(self) -> "tuple[dict[str, str], dict[str, dict[str, Tensor]]]":
        """Texts and tensors by file name, for `core.run_folder.write_folder`."""
        import torch

        facts = {
            "features": self.features_key,
            "kind": self.classifier.kind,
            "tasks": self.classifier.tasks,
            "names": self.classifier.names(),
            "temperature": self.temperature,
            "max_abstained": self.max_abstained,
            "threshold": self.threshold,
            "lowest": self.lowest,
            "held": {"tasks": self.held.tasks, "views": self.held.views},
        }
        arrays = {**self.classifier.state(), "held": self.held.features, "outside": self.outside}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return {CONFIG: json_text(facts)}, {ARRAYS: tensors}


@dataclass(frozen=True, slots=True)
class RouterRows:
    """What a router is fitted on, as features."""

    train: Views
    held: Views
    general: General  # texts of no task


def fit_router(kind: str, features_key: str, rows: RouterRows, max_abstained: float = MAX_ABSTAINED) -> Router:
    """A calibrated router of the tasks in `rows`, which sends at most a share of their held-out rows to the base."""
    seen = {name: np.delete(texts, np.s_[::HELD_BACK], axis=0) for name, texts in rows.general.items()}
    seen = {name: texts for name, texts in seen.items() if len(texts)}
    held = held_rows(rows.held)
    unseen = [texts[::HELD_BACK].astype(np.float16) for texts in rows.general.values()]
    outside = np.concatenate([held.features[:0], *unseen])
    router = Router(features_key, fit_classifier(kind, rows.train, seen), held, outside, max_abstained)
    router.calibrate()
    return router


def operating_point(own: np.ndarray, outside: np.ndarray, most: float) -> float:
    """The familiarity below which a text is rejected: fewest own rejected and outside let in, as shares.

    Args:
        own: familiarity of held-out rows of the tasks, (row,).
        outside: of texts of no task, (row,); without any, as many are rejected as may be.
        most: the highest threshold allowed.
    """
    if not len(outside):
        return most
    own, outside = np.sort(own), np.sort(outside)
    points = np.append(own[own < most], most)
    away = np.searchsorted(own, points) / len(own)
    let_in = 1.0 - np.searchsorted(outside, points) / len(outside)
    point = float(points[(away + let_in).argmin()])
    below = outside[outside < point]
    # No own row lies between the two, or that one would have been better: leave room on both sides.
    return (point + float(below[-1])) / 2 if len(below) else point


def vectors(features: Features, texts: Texts) -> Views:
    """The features of texts by task and view."""
    return {task: {view: features.of(rows) for view, rows in views.items()} for task, views in texts.items()}


def held_rows(views: Views) -> Held:
    """Held-out rows of all tasks, one behind the other."""
    parts = [(task, view, rows) for task, of in views.items() for view, rows in of.items()]
    return Held(
        np.concatenate([rows for _, _, rows in parts]).astype(np.float16),
        [task for task, _, rows in parts for _ in rows],
        [view for _, view, rows in parts for _ in rows],
    )


def joined(one: Held, other: Held) -> Held:
    """The rows of both."""
    rows = np.concatenate([one.features, other.features])
    return Held(rows, one.tasks + other.tasks, one.views + other.views)


def load_router(folder: Path, features_key: str | None = None) -> Router:
    """Read a router that `files` wrote.

    Args:
        folder: with router.json and router.safetensors.
        features_key: of the features it will be asked with; None asks nothing.

    Raises:
        RouterError: missing or damaged, or fitted on other features.
    """
    try:
        facts = renamed(dict(unsealed(load_json(folder / CONFIG))), OLDER_NAMES)
        arrays = renamed(load_tensors(folder / ARRAYS, "np"), OLDER_NAMES)
        held, outside = Held(arrays.pop("held"), facts["held"]["tasks"], facts["held"]["views"]), arrays.pop("outside")
        classifier = open_classifier(facts["kind"], facts["names"], arrays)
        router = Router(facts["features"], classifier, held, outside)
        router.max_abstained, router.temperature = float(facts["max_abstained"]), float(facts["temperature"])
        router.threshold, router.lowest = float(facts["threshold"]), float(facts["lowest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RouterError(
            f"{folder}: no router could be read from {CONFIG} and {ARRAYS} ({error}). Fit it again: multitune select"
        ) from error
    if any(not np.isfinite(array).all() for array in arrays.values()):
        raise RouterError(f"{folder}/{ARRAYS}: holds NaN or infinity. Fit it again: multitune select")
    if features_key is not None and router.features_key != features_key:
        raise RouterError(
            f"{folder}: this router was fitted on {router.features_key!r}, not on {features_key!r}. Fit it again for "
            "this base: multitune select"
        )
    return router
