"""What wrong routes cost, in score, and the threshold of familiarity that costs least."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

OUTSIDE_COST = 0.1  # see `RouteCosts.outside`
LEAST_LOST = 0.05  # what ships is taken to be ahead by this at least: a score on a few dozen rows moves in steps


@dataclass(frozen=True, slots=True)
class TaskCost:
    """What a row of a task loses on average where another answers than the adapter that its task ships with."""

    base: float = 1.0  # the base, or an adapter that did not learn the task, which is taken to answer as the base does
    shared: float = 1.0  # the shared adapter


@dataclass(frozen=True, slots=True)
class RouteCosts:
    """What wrong routes cost, in points of score from 0 to 1."""

    # What one text of no task costs that an adapter answers, against one request to each task on average: a whole
    # answer is lost (1), and one in ten requests is taken to be such a text.
    outside: float = OUTSIDE_COST
    shared: str | None = None  # the adapter that learned all tasks; it answers where a row may be of several
    tasks: Mapping[str, TaskCost] = field(default_factory=dict[str, TaskCost])

    def of(self, task: str) -> TaskCost:
        """Of a task; one without scores, as in routers of older versions, is taken to lose all."""
        return self.tasks.get(task, TaskCost())

    def knowing(self, task: str, cost: TaskCost | None) -> "RouteCosts":
        """The same with one task more, or with None without it."""
        others = {name: known for name, known in self.tasks.items() if name != task}
        return replace(self, tasks={**others, task: cost} if cost else others)

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        tasks = {task: {"base": cost.base, "shared": cost.shared} for task, cost in self.tasks.items()}
        return {"outside": self.outside, "shared": self.shared, "tasks": tasks}

    @classmethod
    def parsed(cls, value: Mapping[str, object]) -> "RouteCosts":
        """What `plain` wrote; KeyError, TypeError or ValueError where it is something else."""
        shared, tasks = value["shared"], value["tasks"]
        if not isinstance(tasks, Mapping) or not (shared is None or isinstance(shared, str)):
            raise ValueError("its costs are no costs")
        found = {str(task): TaskCost(float(cost["base"]), float(cost["shared"])) for task, cost in tasks.items()}
        return cls(float(value["outside"]), shared, found)  # pyright: ignore[reportArgumentType]  # TypeError is right


def cheapest_threshold(own: np.ndarray, lost: np.ndarray, outside: np.ndarray, cost: float) -> float:
    """The familiarity below which rejecting texts costs least: own rows lost and outside texts routed, in score.

    cost(t) = sum of `lost` where own < t + `cost` * share of outside >= t; where several are equal, the lowest.

    Args:
        own: familiarity of held-out rows of the tasks, (row,).
        lost: what each of them adds to the cost if it is rejected, (row,).
        outside: familiarity of texts of no task; without any, nothing is rejected.
        cost: of an outside text that is routed.
    """
    if not len(outside) or cost <= 0:
        return -np.inf
    order = own.argsort()
    own, outside = own[order], np.sort(outside)
    points = np.concatenate([[-np.inf], own, [max(own[-1], outside[-1]) + 1.0]])
    rejected = np.concatenate([[0.0], np.cumsum(lost[order])])[np.searchsorted(own, points)]
    routed = 1.0 - np.searchsorted(outside, points) / len(outside)
    point = float(points[(rejected + cost * routed).argmin()])
    below = outside[outside < point]
    # No own row lies between the two, or that one would have been better: leave room on both sides.
    return (point + float(below[-1])) / 2 if len(below) and np.isfinite(point) else point
