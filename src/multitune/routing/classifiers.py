"""Vectors to tasks: the streaming discriminant, independent heads and a learned softmax, behind one protocol."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np

from multitune.core.errors import RouterError
from multitune.routing.discriminant import Discriminant

Kind = Literal["discriminant", "heads", "softmax"]
KINDS: tuple[Kind, ...] = ("discriminant", "heads", "softmax")
Views = Mapping[str, Mapping[str, np.ndarray]]  # task -> view (such as `prompt`) -> its rows, float32 (row, width)


class Classifier(Protocol):
    """What a router asks of features."""

    kind: Kind

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the scores' columns."""
        ...

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihood of each task up to a constant per row, float64 (row, task)."""
        ...

    def familiarity(self, features: np.ndarray) -> np.ndarray:
        """How much a row is like anything known; higher is more so, float64 (row,)."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a file; `classes` beside them in `names`."""
        ...

    def names(self) -> list[str]:
        """What the rows of the arrays stand for."""
        ...


class DiscriminantClassifier:
    """A prototype per task and view, one covariance: tasks come and go without touching the other prototypes."""

    kind: Kind = "discriminant"

    def __init__(self, discriminant: Discriminant) -> None:
        self.discriminant = discriminant

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order they came."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.discriminant.means))

    def add(self, task: str, views: Mapping[str, np.ndarray]) -> None:
        """One more task, from the rows of each of its views."""
        for view, rows in views.items():
            self.discriminant.add(f"{task}/{view}", rows)

    def remove(self, task: str) -> None:
        """Forget a task."""
        for name in [name for name in self.discriminant.means if name.partition("/")[0] == task]:
            self.discriminant.remove(name)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihood under the views of each task together."""
        logs = -0.5 * self.discriminant.distances(features)
        of = [name.partition("/")[0] for name in self.discriminant.means]
        columns = [[i for i, owner in enumerate(of) if owner == task] for task in self.tasks]
        return np.stack([np.logaddexp.reduce(logs[:, places], axis=1) for places in columns], axis=1)

    def familiarity(self, features: np.ndarray) -> np.ndarray:
        """Minus the squared distance to the nearest prototype."""
        return -self.discriminant.distances(features).min(1)

    def state(self) -> dict[str, np.ndarray]:
        """The discriminant's sums."""
        return self.discriminant.state()

    def names(self) -> list[str]:
        """Prototypes as `task/view`."""
        return list(self.discriminant.means)


class LinearClassifier:
    """Weights learned by gradient descent: one softmax over the tasks, or a head per task that says yes or no.

    Source of the softmax, trained on domain labels: Feng et al. 2024, arXiv:2403.03432. Its loss meets only the
    router, and the adapters' only the adapters (rows are routed by their labels in training), so learning both at
    once and one after the other end in the same place.
    """

    def __init__(self, kind: Kind, tasks: list[str], arrays: Mapping[str, np.ndarray]) -> None:
        self.kind: Kind = kind
        self._tasks = tasks
        self._weight, self._bias = arrays["weight"].astype(np.float64), arrays["bias"].astype(np.float64)
        self._mean, self._spread = arrays["mean"].astype(np.float64), arrays["spread"].astype(np.float64)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the weights."""
        return self._tasks

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Logits; of heads, the log of what each says for itself."""
        logits = self._logits(features)
        return logits if self.kind == "softmax" else -np.logaddexp(0.0, -logits)

    def familiarity(self, features: np.ndarray) -> np.ndarray:
        """The largest logit."""
        return self._logits(features).max(1)

    def _logits(self, features: np.ndarray) -> np.ndarray:
        return (features - self._mean) / self._spread @ self._weight.T + self._bias

    def state(self) -> dict[str, np.ndarray]:
        """Weights, and what features are centred and scaled by."""
        arrays = {"weight": self._weight, "bias": self._bias, "mean": self._mean, "spread": self._spread}
        return {name: array.astype(np.float32) for name, array in arrays.items()}

    def names(self) -> list[str]:
        """The tasks."""
        return self._tasks


def fit_classifier(kind: Kind, train: Views, general: np.ndarray) -> Classifier:
    """A classifier of the rows in `train`; heads learn to say no to those in `general` (row, width), if any."""
    if kind == "discriminant":
        width = next(rows.shape[1] for views in train.values() for rows in views.values())
        found = DiscriminantClassifier(Discriminant(width))
        for task, views in train.items():
            found.add(task, views)
        return found
    return _fit_linear(kind, train, general)


def _fit_linear(kind: Kind, train: Views, general: np.ndarray) -> LinearClassifier:
    from sklearn.linear_model import LogisticRegression

    tasks = list(train)
    rows = [rows for views in train.values() for rows in views.values()]
    owners = np.concatenate(
        [np.full(len(rows), i) for i, views in enumerate(train.values()) for rows in views.values()]
    )
    x = np.concatenate(rows)
    if kind == "heads" and len(general):
        x, owners = np.concatenate([x, general]), np.concatenate([owners, np.full(len(general), -1)])
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / spread

    def fitted(target: np.ndarray) -> Any:
        return LogisticRegression(max_iter=500, C=0.1).fit(x, target)

    if kind == "softmax" and len(tasks) > 2:
        model = fitted(owners)
        weight, bias = model.coef_, model.intercept_
    else:
        heads = [fitted(owners == i) for i in range(len(tasks))]
        weight, bias = np.concatenate([h.coef_ for h in heads]), np.concatenate([h.intercept_ for h in heads])
    arrays = {"weight": weight, "bias": bias, "mean": mean, "spread": spread}
    return LinearClassifier(kind, tasks, arrays)


def open_classifier(kind: str, names: list[str], arrays: Mapping[str, np.ndarray]) -> Classifier:
    """The classifier that `state` and `names` of one describe.

    Raises:
        RouterError: the arrays do not belong together.
    """
    try:
        if kind == "discriminant":
            return DiscriminantClassifier(Discriminant.of(names, arrays))
        if kind in ("heads", "softmax"):
            return LinearClassifier("heads" if kind == "heads" else "softmax", names, arrays)
    except (KeyError, ValueError) as error:
        raise RouterError(f"its arrays do not belong together ({error})") from error
    raise RouterError(f"its kind is {kind!r}, which this version does not know")
