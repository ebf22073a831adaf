"""gate: whether a new run or model is worse than an old one beyond a margin, task by task."""

from typing import Literal

from pydantic import Field

from multitune.core.results.base import Document, Record
from multitune.core.results.scores import Difference

GateVerdict = Literal["passes", "worse", "cannot tell"]
EXIT_CODES: dict[GateVerdict, int] = {"passes": 0, "worse": 1, "cannot tell": 3}


class GateSide(Record):
    """What answers a task on one side, and its score: the mean over the seeds."""

    adapter: str
    score: float


class GateTask(Difference):
    """One task: new − old on the same rows."""

    task: str
    metric: str
    examples: int
    seeds: int  # trainings of each side
    old: GateSide
    new: GateSide
    margin: float  # a loss of less than this counts as none, in the metric's unit
    p: float  # two-sided p that the difference is −margin; 1 where it lies above
    p_holm: float  # adjusted for the number of tasks compared
    verdict: GateVerdict


class Gate(Document):
    """`multitune gate`: the verdict on every task, and what they come to."""

    REMEDY = "multitune gate OLD NEW"

    old: str  # as the user named them
    new: str
    split: str
    confidence: float
    resamples: int
    tasks: tuple[GateTask, ...] = Field(min_length=1)
    missing: tuple[str, ...] = ()  # tasks of the old one that the new one lacks, which was allowed
    added: tuple[str, ...] = ()  # tasks of the new one alone

    def with_verdict(self, verdict: GateVerdict) -> list[str]:
        """The tasks with a verdict."""
        return [task.task for task in self.tasks if task.verdict == verdict]

    @property
    def verdict(self) -> GateVerdict:
        """Of all tasks: one that is worse decides, then one that cannot be told."""
        verdicts: tuple[GateVerdict, ...] = ("worse", "cannot tell", "passes")
        return next(verdict for verdict in verdicts if self.with_verdict(verdict))

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return EXIT_CODES[self.verdict]
