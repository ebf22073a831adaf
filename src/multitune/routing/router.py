"""Which adapter answers a text: features, a classifier, calibrated probabilities, and what a wrong route costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from multitune.core.bases import BASE
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
from multitune.routing.costs import RouteCosts, TaskCost, cheapest_threshold
from multitune.routing.features import Features
from multitune.routing.general_texts import drawn_together

if TYPE_CHECKING:
    from torch import Tensor

NO_COSTS = RouteCosts()  # nothing is known of scores: every wrong route loses all
DIGITS = 9  # of a probability, before anything is decided by it: those behind depend on the other rows
HELD_BACK = 4  # every fourth text of a general set is not fitted on, but shows how familiar outside look
FEW = 12  # texts of a general set whose mean counts half
CONFIG, ARRAYS = "router.json", "router.safetensors"
# What older versions called parts of these files -> the name now.
OLDER_NAMES = {"unfamiliar": "threshold", "strangers": "outside"}
Reason = Literal["routed", "out-of-distribution", "unsure"]
Texts = Mapping[str, Mapping[str, Sequence[str]]]  # task -> view -> texts


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one text goes: to the likeliest adapter, or for another reason.

    `unsure` is the shared adapter, where a row may be of several tasks and less is lost so on average;
    `out-of-distribution` is the base.
    """

    task: str  # the likeliest
    adapter: str
    probability: float  # of the likeliest adapter: that of all tasks it serves
    reason: Reason


@dataclass(frozen=True, slots=True)
class _Options:
    """What a table offers to decide between."""

    table: Mapping[str, str]
    adapters: list[str]
    serves: np.ndarray  # bool (task, adapter)
    lost: np.ndarray  # by a row of each task whose adapter is another, (task,)
    by_shared: np.ndarray  # by one that the shared adapter answers, (task,)


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
    costs: RouteCosts = NO_COSTS
    temperature: float = 1.0
    threshold: float = -np.inf  # below this familiarity a row is out-of-distribution
    lowest: float = -np.inf  # nor is it where no task's score reaches this, which every held-out row's does
    _options: _Options | None = field(default=None, init=False, repr=False, compare=False)  # of the last table

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
        probabilities, options, shared = self._calibrated(scores), self._offered(table), self.costs.shared
        tasks, by_adapter = probabilities.argmax(1), (probabilities @ options.serves).round(DIGITS)
        known = (familiarity >= self.threshold) & (scores.max(1) >= self.lowest)
        by_shared = (probabilities @ options.by_shared).round(DIGITS)
        decisions: list[Decision] = []
        for row, task in enumerate(tasks):
            best = int(by_adapter[row].argmax())
            adapter, reason = options.adapters[best], "routed"
            lost = round(float(probabilities[row] @ (options.lost * ~options.serves[:, best])), DIGITS)
            if not known[row]:
                adapter, reason = BASE, "out-of-distribution"
            elif shared and by_shared[row] < lost:
                adapter, reason = shared, "unsure"
            decisions.append(Decision(self.classifier.tasks[task], adapter, float(by_adapter[row, best]), reason))
        return decisions, probabilities

    def _offered(self, table: Mapping[str, str]) -> _Options:
        """What the table offers; found once per table.

        Raises:
            RouterError: a task of the router has no row in the table.
        """
        if self._options and self._options.table == table:
            return self._options
        tasks = self.classifier.tasks
        missing = [task for task in tasks if task not in table]
        if missing:
            raise RouterError(f"the routing table has no row for task {missing[0]!r}, which the router knows")
        adapters = list(dict.fromkeys(table[task] for task in tasks))
        serves = np.array([[table[task] == adapter for adapter in adapters] for task in tasks])
        costs = [self.costs.of(task) for task in tasks]
        by_shared = [0.0 if table[task] == self.costs.shared else self.costs.of(task).shared for task in tasks]
        self._options = _Options(dict(table), adapters, serves, np.array([c.base for c in costs]), np.array(by_shared))
        return self._options

    def calibrate(self) -> None:
        """Choose the temperature by likelihood, and the threshold of familiarity by what it costs.

        Every task and view counts alike, however many held-out rows it has.

        Sources: temperature scaling, Guo et al. 2017, arXiv:1706.04599; rejection by its cost, Chow 1970.
        """
        from scipy.optimize import minimize_scalar

        features = self.held.features.astype(np.float32)
        scores, familiarity = self.classifier.read(features)
        owners = [self.classifier.tasks.index(task) for task in self.held.tasks]

        def loss(log_temperature: float) -> float:
            logits = scores / np.exp(log_temperature)
            return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(owners)), owners]).mean())

        self.temperature = float(np.exp(minimize_scalar(loss, bounds=(-3.0, 8.0), method="bounded").x))
        kinds = list(zip(self.held.tasks, self.held.views, strict=True))
        rows = Counter(kinds)
        lost = np.array([self.costs.of(task).base / rows[task, view] for task, view in kinds]) / len(rows)
        outside = self.outside_familiarity(features)
        self.threshold = cheapest_threshold(familiarity, lost, outside, self.costs.outside)
        # Where nothing is rejected for its cost, nothing is for being far from all rows either.
        self.lowest = float(scores.max(1).min()) if self.costs.outside > 0 else -np.inf
        self._options = None

    def outside_familiarity(self, features: np.ndarray) -> np.ndarray:
        """How familiar texts of no task look: general ones, or without those each task's own to all the others."""
        if len(self.outside):
            return self.classifier.read(self.outside.astype(np.float32)).familiarity
        tasks, owners = self.classifier.tasks, np.array(self.held.tasks)
        if len(tasks) < 2:
            return np.zeros(0)
        found = [self.classifier.without(task).read(features[owners == task]).familiarity for task in tasks]
        return np.concatenate(found)

    def add(
        self,
        task: str,
        train: Mapping[str, np.ndarray],
        held: Mapping[str, np.ndarray],
        cost: TaskCost | None = None,
    ) -> None:
        """One more task: its prototypes, its held-out rows, what a wrong route costs it, and the calibration anew.

        Raises:
            RouterError: the task is known already, or this kind of router must be fitted as a whole.
        """
        if task in self.classifier.tasks:
            raise RouterError(f"the router knows task {task!r} already")
        self.require_growing().add(task, train)
        self.held = joined(self.held, held_rows({task: held}))
        self.costs = self.costs.knowing(task, cost)
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
        self.costs = self.costs.knowing(task, None)
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
            "costs": self.costs.plain(),
            # JSON has no infinity; null is no threshold.
            "threshold": self.threshold if np.isfinite(self.threshold) else None,
            "lowest": self.lowest if np.isfinite(self.lowest) else None,
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


def fit_router(kind: str, features_key: str, rows: RouterRows, costs: RouteCosts = NO_COSTS) -> Router:
    """A calibrated router of the tasks in `rows`, whose thresholds cost least."""
    seen = {name: np.delete(texts, np.s_[::HELD_BACK], axis=0) for name, texts in rows.general.items()}
    seen = drawn_together({name: texts for name, texts in seen.items() if len(texts)}, FEW)
    held = held_rows(rows.held)
    unseen = [texts[::HELD_BACK].astype(np.float16) for texts in rows.general.values()]
    outside = np.concatenate([held.features[:0], *unseen])
    router = Router(features_key, fit_classifier(kind, rows.train, seen), held, outside, costs)
    router.calibrate()
    return router


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
        router.temperature = float(facts["temperature"])
        # Routers of older versions have a share of rejections here; their thresholds hold until they are fitted again.
        router.costs = RouteCosts.parsed(facts["costs"]) if "costs" in facts else NO_COSTS
        router.threshold, router.lowest = (
            -np.inf if facts[name] is None else float(facts[name]) for name in ("threshold", "lowest")
        )
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
