"""How the tasks of one adapter share a step: FAMO weighs their losses, PCGrad projects gradients that conflict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch

from multitune.core.records import PackRow

RATE, DECAY = 0.025, 0.01  # of the logits; the paper's beta and gamma, as in its authors' code
MOMENTS = (0.9, 0.999)  # Adam's, likewise
KEPT = 0.9  # what a running loss keeps of itself at each step


@final
class Famo:
    """Task weights of one adapter under which every task's log loss falls at about the same rate.

    z_i ∝ share_i * exp(logit_i), and a step minimises sum_i c_i * loss_i with c_i ∝ z_i / loss_i, which sum to one.
    After it, Adam moves the logits against z_i * (fall_i - sum_j z_j * fall_j), with decay towards zero; fall_i is
    what task i's log loss fell by.

    Unlike the paper, z starts from the shares that the mixture gave the step's rows and not from uniform ones, so
    that schedules keep their meaning; the fall is read off the next step's rows, which costs nothing, and not off a
    second forward pass over the same ones; and as a step holds few rows of a task, losses are running means of what
    past steps showed.

    Source: Liu et al. 2023, arXiv:2306.03792, algorithm 1.
    """

    def __init__(self, tasks: int) -> None:
        self._logits, self._mean, self._square = np.zeros((3, tasks))
        self._losses = np.zeros(tasks)  # nats per answer token; 0: not seen yet
        self._moves = 0
        self.weights = np.zeros(tasks)  # float64 (task,) z of the latest step

    def weigh(self, rows: Sequence[PackRow]) -> list[PackRow]:
        """The rows of one step, each with its weight times c_i / share_i of its task."""
        parts = [row.weight * len(row.segments.answer) for row in rows]
        share = np.bincount([row.task for row in rows], parts, len(self._logits))
        share /= share.sum()
        force = np.exp(self._logits)
        self.weights = share * force / (share @ force)
        seen = self._losses > 0
        losses = np.where(seen, self._losses, self._losses[seen].mean() if seen.any() else 1.0)
        scale = force / losses / (share @ (force / losses))
        return [replace(row, weight=row.weight * float(scale[row.task])) for row in rows]

    def note(self, nats: np.ndarray, tokens: np.ndarray) -> None:
        """Take in what each task of the step lost, (task,) summed over its answer tokens, and move the logits."""
        drawn, before = tokens > 0, self._losses
        now = nats / np.maximum(tokens, 1)
        self._losses = np.where(drawn, np.where(before > 0, KEPT * before + (1 - KEPT) * now, now), before)
        compared = drawn & (before > 0) & (self._losses > 0)
        if not compared.any():
            return
        fall = np.zeros(len(before))
        fall[compared] = np.log(before[compared] / self._losses[compared])
        z = self.weights * compared / self.weights[compared].sum()
        self._move(z * (fall - z @ fall) + DECAY * self._logits)

    def _move(self, gradient: np.ndarray) -> None:
        self._moves += 1
        first, second = MOMENTS
        self._mean = first * self._mean + (1 - first) * gradient
        self._square = second * self._square + (1 - second) * gradient**2
        mean, square = self._mean / (1 - first**self._moves), self._square / (1 - second**self._moves)
        self._logits = self._logits - RATE * mean / (np.sqrt(square) + 1e-8)

    def state(self) -> dict[str, Any]:
        """All that moves, as plain values."""
        arrays = {"logits": self._logits, "mean": self._mean, "square": self._square, "losses": self._losses}
        return {"moves": self._moves, **{key: array.tolist() for key, array in arrays.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave."""
        self._moves = state["moves"]
        keys = ("logits", "mean", "square", "losses")
        self._logits, self._mean, self._square, self._losses = (np.array(state[key]) for key in keys)


@final
class TaskGradients:
    """The gradients of one adapter in one step, task by task; PCGrad makes one of them."""

    def __init__(self, gradient: torch.Tensor) -> None:
        self._gradient = gradient  # float32 (parameter,) what backward passes add to
        self._parts: list[torch.Tensor] = []

    def take(self) -> None:
        """Put aside what the backward passes of one task left, if it has to do with this adapter."""
        if self._gradient.any():
            self._parts.append(self._gradient.clone())
            self._gradient.zero_()

    def settle(self, random: np.random.Generator) -> float:
        """Leave the projected sum for the optimizer. Returns the share of ordered pairs that were in conflict."""
        if not self._parts:
            return 0.0
        total, conflicts = project(self._parts, random)
        self._gradient.copy_(total)
        return conflicts / max(1, len(self._parts) * (len(self._parts) - 1))


def project(gradients: Sequence[torch.Tensor], random: np.random.Generator) -> tuple[torch.Tensor, int]:
    """Sum of the gradients, each without what points against another, and how many projections that took.

    Where g_i · g_j < 0, g_i loses its part along g_j: g_i - (g_i · g_j) / |g_j|² g_j, for all j in random order.

    Source: Yu et al. 2020, arXiv:2001.06782, algorithm 1.
    """
    total, conflicts = torch.zeros_like(gradients[0]), 0
    for i, gradient in enumerate(gradients):
        own = gradient.clone()
        for j in random.permutation(len(gradients)):
            other = gradients[j]
            dot = torch.dot(own, other) if i != j else None
            if dot is not None and dot < 0:
                own -= dot / torch.dot(other, other) * other
                conflicts += 1
        total += own
    return total, conflicts


def by_task(rows: Sequence[PackRow]) -> list[list[int]]:
    """Places of the rows of each task, whichever adapter they are for."""
    return [[i for i, row in enumerate(rows) if row.task == task] for task in sorted({row.task for row in rows})]
