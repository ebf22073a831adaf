"""Metrics that follow from sums over the examples: a resample then costs one product instead of one call.

The registry scores once with scikit-learn where that has the metric; a test holds these to it on every resample.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Values = Sequence[Any]


@dataclass(frozen=True, slots=True)
class SufficientStatistics:
    """What each example adds, and the metric that the sums make."""

    counts: np.ndarray  # float64 (example, count)
    read: Callable[[np.ndarray], np.ndarray]  # sums, float64 (..., count) -> the metric, float64 (...)

    @property
    def score(self) -> float:
        """The metric over all examples."""
        return float(self.read(self.counts.sum(axis=0)))


def label_numbers(values: Values, golds: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, golds, classes) as numbers; None becomes -1, which is no class of its own in a mean over classes."""
    names = sorted({name for name in (*values, *golds) if name is not None})
    number: dict[str | None, int] = {None: -1} | {name: i for i, name in enumerate(names)}
    return np.array([number[v] for v in values]), np.array([number[g] for g in golds]), np.arange(len(names))


def macro_f1(values: Values, golds: Values) -> SufficientStatistics:
    """Mean F1 over the classes that occur on either side."""

    def read(sums: np.ndarray) -> np.ndarray:
        hits, predicted, true = np.split(sums, 3, axis=-1)
        return _mean_ratio(2 * hits, predicted + true)

    return SufficientStatistics(_label_counts(values, golds), read)


def balanced(values: Values, golds: Values) -> SufficientStatistics:
    """Mean recall over the classes that occur."""

    def read(sums: np.ndarray) -> np.ndarray:
        hits, _, true = np.split(sums, 3, axis=-1)
        return _mean_ratio(hits, true)

    return SufficientStatistics(_label_counts(values, golds), read)


def entities(values: Values, golds: Values) -> SufficientStatistics:
    """F1 of entities over all rows: summed first, since a mean of F1 would let rows without entities outweigh."""
    counts = [_entity_counts(value, gold) for value, gold in zip(values, golds, strict=True)]

    def read(sums: np.ndarray) -> np.ndarray:
        found, total = sums[..., 0], sums[..., 1]
        return np.where(total > 0, 2 * found / np.maximum(total, 1), 1.0)

    return SufficientStatistics(np.array(counts, dtype=np.float64), read)


def _entity_counts(value: Sequence[Sequence[str]] | None, gold: Sequence[Sequence[str]]) -> tuple[int, int]:
    """(entities found, entities predicted plus true); an unreadable output counts as one wrong entity."""
    predicted = Counter(map(tuple, [("", "")] if value is None else value))
    true = Counter(map(tuple, gold))
    return (predicted & true).total(), predicted.total() + true.total()


def _label_counts(values: Values, golds: Values) -> np.ndarray:
    """Per class: correct, predicted, and true; float64 (example, 3 * class)."""
    predicted, true, classes = label_numbers(values, golds)
    as_predicted, as_true = predicted[:, None] == classes, true[:, None] == classes
    return np.concatenate([as_predicted & as_true, as_predicted, as_true], axis=1).astype(np.float64)


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur, float64 (...)."""
    return (part / np.maximum(whole, 1)).sum(axis=-1) / np.maximum((whole > 0).sum(axis=-1), 1)
