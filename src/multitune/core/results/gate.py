"""What `multitune gate` found: whether a new run is worse than an old one on any task, beyond a margin."""

from typing import Literal

from pydantic import Field

from multitune.core.results.base import Record
from multitune.core.results.scores import Difference

Outcome = Literal["no worse", "worse", "cannot tell"]


class GatedTask(Difference):
    """One task: new − old on the same rows."""

    task: str
    metric: str
    examples: int
    old_adapter: str
    new_adapter: str
    old: float
    new: float
    margin: float  # a loss of less than this counts as none
    seeds: int  # trainings of each side
    outcome: Outcome


class Gate(Record):
    """All tasks, and what they come to."""

    old: str  # paths
    new: str
    split: str
    confidence: float
    tasks: tuple[GatedTask, ...] = Field(min_length=1)
    left_out: tuple[str, ...] = ()  # tasks of one run alone, where that was allowed

    @property
    def outcome(self) -> Outcome:
        """Worse where a task is, no worse where every task is that, else it cannot be told."""
        outcomes = {one.outcome for one in self.tasks}
        if "worse" in outcomes:
            return "worse"
        return "no worse" if outcomes == {"no worse"} else "cannot tell"

    @property
    def exit_code(self) -> int:
        """0: no task is worse beyond its margin; 1: one is; 3: the rows cannot tell."""
        return {"no worse": 0, "worse": 1, "cannot tell": 3}[self.outcome]
