"""Gaussian classes with one covariance, as sums that grow: a class is added, moved or removed in closed form."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy

import numpy as np

SHRINKAGE = 0.1  # towards the diagonal; between 0.01 and 0.3 accuracy hardly moves (docs/LOG.md)


class Discriminant:
    """Linear discriminant analysis from sufficient statistics: fitting at once and class by class give the same.

    Source: Fisher 1936, with a shrunk covariance as in Ledoit & Wolf 2004; as a router, it needs no training.
    """

    def __init__(self, width: int) -> None:
        self.means: dict[str, np.ndarray] = {}  # class -> float64 (width,)
        self.counts: dict[str, int] = {}
        self.scatter = np.zeros((width, width))  # sum over all rows of outer products around their class's mean
        self.rows = 0  # how many rows `scatter` is made of
        self.classes = 0  # how many means were estimated for it
        self._precision: np.ndarray | None = None
        self._points: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, name: str, features: np.ndarray) -> None:
        """A new class from its rows, (row, width); the others keep their means."""
        features = features.astype(np.float64)
        mean = features.mean(0)
        self.means[name], self.counts[name] = mean, len(features)
        centred = features - mean
        self.scatter = self.scatter + centred.T @ centred  # not in place: `without` shares it
        self.rows += len(features)
        self.classes += 1
        self._precision = self._points = None

    def update(self, name: str, row: np.ndarray) -> None:
        """Move a class by one more row (width,), as if it had been among the first.

        Source: Welford 1962.
        """
        count, away = self.counts[name], row.astype(np.float64) - self.means[name]
        self.means[name] = self.means[name] + away / (count + 1)
        self.counts[name] = count + 1
        self.scatter = self.scatter + np.outer(away, away) * count / (count + 1)
        self.rows += 1
        self._precision = self._points = None

    def moved(self, names: Sequence[str], features: np.ndarray, weights: np.ndarray) -> "Discriminant":
        """The same with more rows, (row, width), each in the class that `names` gives it; this one stays as it is.

        A row of weight 1 counts as one of those that the class was made of, so this is `update` in any order.
        """
        other = copy(self)
        other.means, other.counts = dict(self.means), dict(self.counts)
        owners, features = np.array(names), features.astype(np.float64)
        scatter, total = self.scatter.copy(), 0.0
        for name in dict.fromkeys(names):
            mine = owners == name
            rows, weight = features[mine], weights[mine]
            more, count = float(weight.sum()), self.counts[name]
            if not more:
                continue
            mean = weight @ rows / more
            centred, away = rows - mean, mean - self.means[name]
            scatter += (centred * weight[:, None]).T @ centred + np.outer(away, away) * count * more / (count + more)
            other.means[name] = self.means[name] + away * more / (count + more)
            other.counts[name] = count + round(more)
            total += more
        other.scatter, other.rows = scatter, self.rows + round(total)
        other._precision = other._points = None
        return other

    def remove(self, name: str) -> None:
        """Remove a class; what it added to the common covariance stays."""
        del self.means[name], self.counts[name]
        self._points = None

    def without(self, names: Collection[str]) -> "Discriminant":
        """The same but for some classes, covariance included; neither notices what is done to the other."""
        _ = self.precision  # once for both
        other = copy(self)
        other.means = {name: mean for name, mean in self.means.items() if name not in names}
        other.counts = {name: self.counts[name] for name in other.means}
        other._points = None
        return other

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance to each class, float64 (row, class)."""
        precision = self.precision
        if self._points is None:
            means = np.array(list(self.means.values()))
            turned = means @ precision
            self._points = turned, (turned * means).sum(1)
        turned, lengths = self._points  # (class, width), (class,)
        x = features.astype(np.float64)
        own = ((x @ precision) * x).sum(1)
        return np.maximum(own[:, None] - 2 * x @ turned.T + lengths, 0.0)

    @property
    def precision(self) -> np.ndarray:
        """The inverse of the shrunk common covariance, (width, width)."""
        if self._precision is None:
            covariance = self.scatter / max(1, self.rows - self.classes)
            diagonal = np.diag(covariance).copy()
            diagonal += 1e-6 * max(float(diagonal.mean()), 1e-12)  # a column that never moves
            self._precision = np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(diagonal))
        return self._precision

    def state(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a file."""
        return {
            "means": np.array(list(self.means.values()), dtype=np.float32),
            "counts": np.array(list(self.counts.values()), dtype=np.int64),
            "scatter": self.scatter.astype(np.float32),
            "sizes": np.array([self.rows, self.classes], dtype=np.int64),
        }

    @classmethod
    def of(cls, names: list[str], state: Mapping[str, np.ndarray]) -> "Discriminant":
        """The one that `state` describes."""
        found = cls(state["scatter"].shape[0])
        found.means = dict(zip(names, state["means"].astype(np.float64), strict=True))
        found.counts = dict(zip(names, state["counts"].tolist(), strict=True))
        found.scatter = state["scatter"].astype(np.float64)
        found.rows, found.classes = state["sizes"].tolist()
        return found
