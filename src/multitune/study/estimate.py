"""First-order estimates: what any combination of tasks would reach, from one shared run and its rows' gradients.

A combination is what remains of the shared run when the other tasks are taken out of it. Near the shared adapter the
log-odds of a row's answer are taken as linear in the weights, and the loss as softplus of minus them. What the other
tasks' gradients held in balance then falls back by one damped Newton step in the curvature of the rows that remain,
and the loss of every task's validation rows after that step is the estimate; all tasks together are the run itself.
All sums are per task, so that a combination costs a small linear system and no row is looked at again.

Source: leaving out by influence, Koh & Liang 2017 (arXiv:1703.04730) with groups as in arXiv:1905.13289; linear
log-odds for combinations of tasks, Grad-TAG (arXiv:2409.06091) and EnsembleLoRA (arXiv:2505.21930).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from multitune.study.signatures import Signatures

DIMENSIONS = 24  # directions kept of all rows' gradients
CHUNK = 16384  # combinations solved at once


@dataclass(frozen=True, slots=True)
class TaskSums:
    """One task's rows near the shared adapter, as the quadratic that the estimates use."""

    loss: float  # mean over rows, nats
    slope: np.ndarray  # float64 (dimension,) mean gradient
    curve: np.ndarray  # float64 (dimension, dimension) mean Gauss-Newton curvature


@dataclass(frozen=True, slots=True)
class Landscape:
    """Training and validation rows of all tasks, in the few directions that matter."""

    tasks: tuple[str, ...]
    train: tuple[TaskSums, ...]
    validation: tuple[TaskSums, ...]
    weight: np.ndarray  # float64 (task,) share of each task's rows among all


def landscape(
    train: Mapping[str, Signatures], validation: Mapping[str, Signatures], rows: Mapping[str, int]
) -> Landscape:
    """Reduce the signatures of all tasks to their main directions, found on training rows alone.

    Args:
        train: task -> signatures of training rows.
        validation: task -> signatures of validation rows.
        rows: task -> training rows in all, which weigh the tasks.
    """
    tasks = tuple(train)
    pooled = np.concatenate([_log_odds_gradients(train[task]) / np.sqrt(len(train[task].losses)) for task in tasks])
    # Main directions by the rows' inner products: there are fewer rows than buckets.
    values, vectors = np.linalg.eigh(pooled @ pooled.T)
    kept = np.argsort(values)[::-1][: min(DIMENSIONS, len(values))]
    kept = kept[values[kept] > values.max() * 1e-9]
    directions = (vectors[:, kept] / np.sqrt(values[kept])).T @ pooled  # (dimension, bucket)
    total = sum(rows.values())
    return Landscape(
        tasks,
        tuple(_sums(train[task], directions) for task in tasks),
        tuple(_sums(validation[task], directions) for task in tasks),
        np.array([rows[task] / total for task in tasks]),
    )


def estimate_losses(land: Landscape, members: np.ndarray, damping: float) -> np.ndarray:
    """Estimated validation loss of every task after training on each combination alone.

    Args:
        land: of the shared run.
        members: bool (combination, task) which tasks each combination trains on.
        damping: strength of the ridge, in units of the mean curvature; small lets the rest fall far back.

    Returns:
        float32 (combination, task) nats per answer token; a task outside of the combination is estimated as well.
    """
    slopes = _stack([one.slope for one in land.train])  # (task, dimension)
    curves = _stack([one.curve for one in land.train])  # (task, dimension, dimension)
    held_slopes = _stack([one.slope for one in land.validation])
    held_curves = _stack([one.curve for one in land.validation])
    start = torch.tensor([one.loss for one in land.validation], dtype=torch.float32)
    size, weight = slopes.shape[1], torch.from_numpy(land.weight.astype(np.float32))
    ridge = damping * curves.diagonal(dim1=1, dim2=2).mean() * torch.eye(size)
    found = np.empty((len(members), len(land.tasks)), dtype=np.float32)
    for first in range(0, len(members), CHUNK):
        inside = torch.from_numpy(members[first : first + CHUNK].astype(np.float32))  # (combination, task)
        curve = ((inside * weight) @ curves.flatten(1)).view(-1, size, size) + ridge
        missing = ((1 - inside) * weight) @ slopes
        step = torch.cholesky_solve(missing[:, :, None], torch.linalg.cholesky(curve))[:, :, 0]  # (combination, dim.)
        squares = (step[:, :, None] * step[:, None, :]).flatten(1)
        change = step @ held_slopes.T + 0.5 * squares @ held_curves.flatten(1).T
        found[first : first + CHUNK] = (start + change).clamp_min(0.0).numpy()
    return found


def fit_damping(land: Landscape, members: np.ndarray, measured: np.ndarray) -> float:
    """The damping whose estimates are nearest to losses that were measured.

    Args:
        land: of the shared run.
        members: bool (arm, task).
        measured: float (arm, task) validation losses, NaN where an arm was not asked.
    """
    grid = np.geomspace(1e-3, 1e3, 25)
    known = ~np.isnan(measured)
    scale = np.nanmean(measured, axis=0)  # a task of large losses must not decide alone
    errors = [(np.abs(estimate_losses(land, members, float(d)) - measured) / scale)[known].mean() for d in grid]
    return float(grid[int(np.argmin(errors))])


def gradient_cosines(train: Mapping[str, Signatures]) -> np.ndarray:
    """Cosine of every two tasks' mean training gradients, float64 (task, task)."""
    means = np.stack([one.gradients.mean(axis=0) for one in train.values()]).astype(np.float64)
    means /= np.linalg.norm(means, axis=1, keepdims=True) + 1e-30
    return means @ means.T


def all_members(tasks: int) -> np.ndarray:
    """Every combination of so many tasks, bool (2**tasks - 1, task); row k is k + 1 in binary."""
    numbers = np.arange(1, 2**tasks, dtype=np.int64)
    return (numbers[:, None] >> np.arange(tasks)) & 1 > 0


def _log_odds_gradients(one: Signatures) -> np.ndarray:
    """Gradient of the log-odds of the mean answer token, float64 (row, bucket), from that of the loss."""
    probability = np.exp(-one.losses)
    return -one.gradients.astype(np.float64) / np.maximum(1.0 - probability, 1e-3)[:, None]


def _sums(one: Signatures, directions: np.ndarray) -> TaskSums:
    """Loss softplus(-z) with z linear: slope -(1 - p) dz, curvature p (1 - p) dz dz'."""
    probability = np.exp(-one.losses)
    odds = _log_odds_gradients(one) @ directions.T  # (row, dimension)
    slope = -((1.0 - probability)[:, None] * odds).mean(axis=0)
    curve = (odds * (probability * (1.0 - probability))[:, None]).T @ odds / len(odds)
    return TaskSums(float(one.losses.mean()), slope, curve)


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))
