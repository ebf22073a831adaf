"""The cheapest measure of which tasks are alike: the words they share, and how near their texts lie."""

from collections.abc import Mapping, Sequence

import numpy as np

from multitune.core.records import Segments
from multitune.data.vocabulary import shared_mass


def vocabulary_overlap(rows: Mapping[str, Sequence[Segments]]) -> np.ndarray:
    """Shared mass of the token distributions of every two tasks, float64 (task, task), 0 to 1."""
    counts: list[np.ndarray] = []
    largest = 1 + max(int(row.tokens.max()) for part in rows.values() for row in part)
    for part in rows.values():
        counts.append(np.bincount(np.concatenate([row.tokens for row in part]), minlength=largest).astype(np.float64))
    return shared_mass(counts)


def embedding_similarity(rows: Mapping[str, Sequence[Segments]], table: np.ndarray) -> np.ndarray:
    """Cosine of the mean token embeddings of every two tasks, what all tasks have in common taken away.

    Args:
        rows: task -> rows.
        table: float32 (token, dimension) the base's token embeddings.
    Returns:
        float64 (task, task), -1 to 1.
    """
    means = np.stack([table[np.concatenate([row.tokens for row in part])].mean(axis=0) for part in rows.values()])
    means = means.astype(np.float64) - means.mean(axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True) + 1e-30
    return means @ means.T


def mean_affinity(pairwise: np.ndarray, members: np.ndarray) -> np.ndarray:
    """A combination's affinity for each task: the mean over the other tasks in it, float64 (combination, task).

    NaN where the task is not in the combination, or alone in it. Source: the averaging of TAG, arXiv:2109.04617.
    """
    others = pairwise - np.diag(np.diag(pairwise))
    inside = members.astype(np.float64)
    count = inside.sum(axis=1, keepdims=True) - 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = inside @ others.T / count
    return np.where(members & (count > 0), mean, np.nan)
