"""Vectors to tasks: the streaming discriminant and a learned softmax, behind one protocol."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from multitune.core.errors import RouterError
from multitune.core.plugins import Group, guarded, load_plugin, plugin_fault
from multitune.routing.discriminant import Discriminant

KINDS = ("discriminant", "softmax")  # our own
GROUP: Group = "multitune.routers"  # of entry points by which other packages add to these
GENERAL = "*"  # owner of the prototypes of general texts; no task has this name
Views = Mapping[str, Mapping[str, np.ndarray]]  # task -> view (such as `prompt`) -> its rows, float32 (row, width)
General = Mapping[str, np.ndarray]  # set -> texts of no task, float32 (row, width)


class Reading(NamedTuple):
    """What a classifier makes of rows."""

    scores: np.ndarray  # log-likelihood of each task up to a constant per row, float64 (row, task)
    familiarity: np.ndarray  # how much more a row is like one of the tasks than like none, float64 (row,)


class Classifier(Protocol):
    """What a router asks of features."""

    kind: str

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the scores' columns."""
        ...

    def read(self, features: np.ndarray) -> Reading:
        """Scores and familiarity of rows (row, width)."""
        ...

    def without(self, task: str) -> "Classifier":
        """The same without a task; this one stays as it is."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a file; `classes` beside them in `names`."""
        ...

    def names(self) -> list[str]:
        """What the rows of the arrays stand for."""
        ...


@runtime_checkable
class ClassifierKind(Protocol):
    """A kind of classifier, such as a module with these two functions; other packages add theirs by an entry point."""

    def fit(self, train: Views, general: General, /) -> Classifier:
        """A classifier of the rows in `train`, whose `kind` is the name of its entry point."""
        ...

    def open(self, names: list[str], arrays: Mapping[str, np.ndarray], /) -> Classifier:
        """The classifier that `names` and `state` of one describe; ValueError where they do not fit."""
        ...


class DiscriminantClassifier:
    """A prototype per task and view, one covariance: tasks come and go without touching the other prototypes.

    A row is unlike all tasks where the middle of all prototypes, or a set of general texts, is as near as the nearest
    task: the distance relative to that of a background, which shares the covariance, so that how long or odd a text
    is at all cancels out.

    Source: Ren et al. 2021, arXiv:2106.09022, whose background has a covariance of its own.
    """

    kind: str = "discriminant"

    def __init__(self, discriminant: Discriminant) -> None:
        self.discriminant = discriminant
        self._around: float | None = None

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order they came."""
        return [owner for owner in dict.fromkeys(self._owners) if owner != GENERAL]

    @property
    def _owners(self) -> list[str]:
        return [name.partition("/")[0] for name in self.discriminant.means]

    def add(self, task: str, views: Mapping[str, np.ndarray]) -> None:
        """One more task, from the rows of each of its views."""
        for view, rows in views.items():
            self.discriminant.add(f"{task}/{view}", rows)
        self._around = None

    def add_general(self, name: str, rows: np.ndarray) -> None:
        """One more set of texts that belong to no task."""
        self.discriminant.add(f"{GENERAL}/{name}", rows)
        self._around = None

    def remove(self, task: str) -> None:
        """Forget a task."""
        for name in [name for name in self.discriminant.means if name.partition("/")[0] == task]:
            self.discriminant.remove(name)
        self._around = None

    def without(self, task: str) -> "DiscriminantClassifier":
        """The same without a task."""
        mine = {name for name in self.discriminant.means if name.partition("/")[0] == task}
        return DiscriminantClassifier(self.discriminant.without(mine))

    def read(self, features: np.ndarray) -> Reading:
        """Scores under the views of each task together; familiarity as the class says."""
        distances = self.discriminant.distances(features)
        owners = np.array(self._owners)
        scores = [np.logaddexp.reduce(-0.5 * distances[:, owners == task], axis=1) for task in self.tasks]
        known = owners != GENERAL
        near, none = distances[:, known], distances[:, ~known]
        if known.sum() > 1:
            none = np.column_stack([none, near.mean(1) - self._spread(known)])
        background = none.min(1) if none.shape[1] else 0.0
        return Reading(np.stack(scores, axis=1), background - near.min(1))

    def _spread(self, known: np.ndarray) -> float:
        """Mean squared distance of the prototypes to their middle.

        What a row's mean distance to them exceeds it by is the row's distance to the middle (Huygens and Steiner).
        """
        if self._around is None:
            middle = np.array(list(self.discriminant.means.values()))[known].mean(0, keepdims=True)
            self._around = float(self.discriminant.distances(middle)[:, known].mean())
        return self._around

    def state(self) -> dict[str, np.ndarray]:
        """The discriminant's sums."""
        return self.discriminant.state()

    def names(self) -> list[str]:
        """Prototypes as `task/view`, those of general texts as `*/set`."""
        return list(self.discriminant.means)


class SoftmaxClassifier:
    """Weights learned by gradient descent: one softmax over the tasks.

    Source: trained on domain labels as in Feng et al. 2024, arXiv:2403.03432. Its loss meets only the router, and the
    adapters' only the adapters (rows are routed by their labels in training), so learning both at once and one after
    the other end in the same place.
    """

    kind: str = "softmax"

    def __init__(self, tasks: list[str], arrays: Mapping[str, np.ndarray]) -> None:
        self._tasks = tasks
        self._weight, self._bias = arrays["weight"].astype(np.float64), arrays["bias"].astype(np.float64)
        self._mean, self._spread = arrays["mean"].astype(np.float64), arrays["spread"].astype(np.float64)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the weights."""
        return self._tasks

    def read(self, features: np.ndarray) -> Reading:
        """Logits; the largest one is the familiarity."""
        logits = (features - self._mean) / self._spread @ self._weight.T + self._bias
        return Reading(logits, logits.max(1))

    def without(self, task: str) -> "SoftmaxClassifier":
        """The same without a task."""
        kept = [i for i, name in enumerate(self._tasks) if name != task]
        arrays = {**self.state(), "weight": self._weight[kept], "bias": self._bias[kept]}
        return SoftmaxClassifier([self._tasks[i] for i in kept], arrays)

    def state(self) -> dict[str, np.ndarray]:
        """Weights, and what features are centred and scaled by."""
        arrays = {"weight": self._weight, "bias": self._bias, "mean": self._mean, "spread": self._spread}
        return {name: array.astype(np.float32) for name, array in arrays.items()}

    def names(self) -> list[str]:
        """The tasks."""
        return self._tasks


def fit_classifier(kind: str, train: Views, general: General) -> Classifier:
    """A classifier of the rows in `train`; the discriminant also learns what belongs to no task.

    Raises:
        RouterError: there is no such kind.
        PluginError: the kind of another package is broken.
    """
    if kind == "softmax":
        return _fit_softmax(train)
    if kind != "discriminant":
        found = guarded(GROUP, kind, _plugin(kind).fit)(train, general)
        if found.kind != kind or set(found.tasks) != set(train):
            raise plugin_fault(GROUP, kind, f"gave a classifier of kind {found.kind!r} for the tasks {found.tasks}")
        return found
    width = next(rows.shape[1] for views in train.values() for rows in views.values())
    found = DiscriminantClassifier(Discriminant(width))
    for task, views in train.items():
        found.add(task, views)
    for name, rows in general.items():
        found.add_general(name, rows)
    return found


def _fit_softmax(train: Views) -> SoftmaxClassifier:
    from sklearn.linear_model import LogisticRegression

    rows = [rows for views in train.values() for rows in views.values()]
    owners = np.concatenate(
        [np.full(len(rows), i) for i, views in enumerate(train.values()) for rows in views.values()]
    )
    x = np.concatenate(rows)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / spread

    def fitted(target: np.ndarray) -> Any:
        return LogisticRegression(max_iter=500, C=0.1).fit(x, target)

    # Of two classes scikit-learn keeps one row of weights.
    models = [fitted(owners)] if len(train) > 2 else [fitted(owners == i) for i in range(len(train))]
    weight, bias = np.concatenate([m.coef_ for m in models]), np.concatenate([m.intercept_ for m in models])
    return SoftmaxClassifier(list(train), {"weight": weight, "bias": bias, "mean": mean, "spread": spread})


def open_classifier(kind: str, names: list[str], arrays: Mapping[str, np.ndarray]) -> Classifier:
    """The classifier that `state` and `names` of one describe.

    Raises:
        RouterError: the arrays do not belong together.
    """
    try:
        if kind == "discriminant":
            return DiscriminantClassifier(Discriminant.of(names, arrays))
        if kind == "softmax":
            return SoftmaxClassifier(names, arrays)
        return _plugin(kind).open(names, arrays)
    except (KeyError, ValueError) as error:
        if isinstance(error, RouterError):
            raise
        raise RouterError(f"its arrays do not belong together ({error})") from error


@cache
def _plugin(kind: str) -> ClassifierKind:
    """The kind that another package offers under a name."""
    found = load_plugin(GROUP, kind)
    if found is None:
        raise RouterError(f"its kind is {kind!r}, which this version does not know and no installed package offers")
    if not isinstance(found, ClassifierKind):
        raise plugin_fault(GROUP, kind, "has no fit and open (multitune.routing.classifiers.ClassifierKind)")
    return found
