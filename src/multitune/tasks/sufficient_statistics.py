"""Metrics that follow from sums over the examples: a resample then costs one product instead of one call.

The registry scores once with scikit-learn where that has the metric; a test holds these to it on every resample.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Values = Sequence[Any]
BELOW = ">"  # between the parts of a label in a hierarchy
_UNREADABLE = object()  # equal to nothing


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


def label_sets(values: Values, golds: Values) -> tuple[np.ndarray, np.ndarray]:
    """(values, golds) as whether each label is in each set, bool (example, label); None is an empty set."""
    given = [[() if one is None else one for one in side] for side in (values, golds)]
    names = sorted({label for side in given for one in side for label in one})
    number = {name: i for i, name in enumerate(names)}
    predicted, true = np.zeros((2, len(golds), len(names)), dtype=bool)
    for side, found in zip(given, (predicted, true), strict=True):
        for row, one in enumerate(side):
            found[row, [number[label] for label in one]] = True
    return predicted, true


def macro_f1(values: Values, golds: Values) -> SufficientStatistics:
    """Mean F1 over the classes that occur on either side, of labels or of sets of labels."""

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
    return _summed_f1([_as_pairs(value) for value in values], [_as_pairs(gold) for gold in golds])


def micro_f1(values: Values, golds: Values) -> SufficientStatistics:
    """F1 of labels over all rows, of sets of labels."""
    return _summed_f1(values, golds)


def hierarchical_f1(values: Values, golds: Values) -> SufficientStatistics:
    """F1 of labels such as `animal > dog` with all that they are below, over all rows.

    Source: Kiritchenko et al. 2006, Learning and evaluation in the presence of class hierarchies.
    """
    return _summed_f1(
        [None if value is None else _with_ancestors(value) for value in values], list(map(_with_ancestors, golds))
    )


def _with_ancestors(label: str) -> list[str]:
    """`a`, `a > b` and `a > b > c` of `a > b > c`."""
    parts = [part.strip() for part in label.split(BELOW)]
    return [BELOW.join(parts[: depth + 1]) for depth in range(len(parts))]


def _summed_f1(values: Values, golds: Values) -> SufficientStatistics:
    """F1 over all items of all rows; 1 where no row has an item on either side."""
    counts = [_shared_counts(value, gold) for value, gold in zip(values, golds, strict=True)]

    def read(sums: np.ndarray) -> np.ndarray:
        found, total = sums[..., 0], sums[..., 1]
        return np.where(total > 0, 2 * found / np.maximum(total, 1), 1.0)

    return SufficientStatistics(np.array(counts, dtype=np.float64), read)


def _as_pairs(spans: Sequence[Sequence[str]] | None) -> list[tuple[str, ...]] | None:
    return None if spans is None else list(map(tuple, spans))


def _shared_counts(value: Sequence[Any] | None, gold: Sequence[Any]) -> tuple[int, int]:
    """(items on both sides, items of both sides added up); an unreadable output counts as one wrong item."""
    predicted, true = Counter([_UNREADABLE] if value is None else value), Counter(gold)
    return (predicted & true).total(), predicted.total() + true.total()


def _label_counts(values: Values, golds: Values) -> np.ndarray:
    """Per class: correct, predicted, and true; float64 (example, 3 * class)."""
    if isinstance(golds[0], str):
        predicted, true, classes = label_numbers(values, golds)
        as_predicted, as_true = predicted[:, None] == classes, true[:, None] == classes
    else:
        as_predicted, as_true = label_sets(values, golds)
    return np.concatenate([as_predicted & as_true, as_predicted, as_true], axis=1).astype(np.float64)


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur, float64 (...)."""
    return (part / np.maximum(whole, 1)).sum(axis=-1) / np.maximum((whole > 0).sum(axis=-1), 1)
