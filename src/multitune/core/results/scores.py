"""scores.json: every subject's score on every task, what training together did, and what was kept of the base."""

from collections.abc import Collection
from typing import Any, Literal, get_args

from pydantic import Field

from multitune.core.bases import BASE
from multitune.core.results.base import Document, Record

Verdict = Literal["helped", "hurt", "ahead in this run", "behind in this run", "cannot tell"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# Rows alone show how one training came out; only several trainings show what training does.
OF_ONE_RUN: tuple[Verdict, Verdict, Verdict] = ("ahead in this run", "behind in this run", "cannot tell")
OF_SEEDS: tuple[Verdict, Verdict, Verdict] = ("helped", "hurt", "cannot tell")
GAINED: tuple[Verdict, ...] = (OF_SEEDS[0], OF_ONE_RUN[0])
LOST: tuple[Verdict, ...] = (OF_SEEDS[1], OF_ONE_RUN[1])
UNDECIDED: tuple[Verdict, ...] = ("cannot tell",)
Against = Literal["alone", "base"]
Budget = Literal["convergence", "equal_passes", "equal_steps"]  # of an adapter alone, against the one together


def verdicts_of(seeds: int) -> tuple[Verdict, Verdict, Verdict]:
    """The words for gained, lost and neither, where both sides were trained with so many seeds."""
    return OF_SEEDS if seeds > 1 else OF_ONE_RUN


class Difference(Record):
    """A difference of two scores on the same rows, with the ends of its confidence interval; the metric's unit."""

    difference: float
    low: float
    high: float


class LossDifference(Difference):
    """How much likelier the right answers became: reference − other in nats per answer token, paired by row."""

    p: float
    p_holm: float  # adjusted for the number of tasks compared

    def side(self, confidence: float) -> int:
        """1 where the right answers are likelier beyond chance, -1 where less likely, else 0."""
        if self.p_holm >= 1.0 - confidence or self.low <= 0.0 <= self.high:
            return 0
        return 1 if self.difference > 0.0 else -1


class Settle(Record):
    """What would show a difference as large as the one seen, in four of five cases; None: not by this alone."""

    rows: int | None  # test rows, with as many seeds
    seeds: int | None  # seeds, with as many rows
    both: tuple[int, int] | None = None  # rows and seeds, where neither would do by itself


class SubjectScore(Record):
    """One subject (the base or an adapter) on one set."""

    score: float
    examples: int
    loss: float  # mean over the rows, nats per answer token
    extra: dict[str, float] = Field(default_factory=dict[str, float])  # other metrics of the same rows
    degenerate: str = ""  # what is wrong with its answers as a whole, if anything
    seeds: tuple[float, ...] = ()  # the score of every training of an adapter with several seeds, its own first
    clean: float | None = None  # on the rows that do not overlap with training rows; None where none or all do


class TaskScores(Record):
    """A task, and the scores of all subjects that answered it."""

    kind: str
    metric: str
    scores: dict[str, SubjectScore]  # subject -> score
    overlapping: int = 0  # rows that stand, in whole or in large parts, in training rows of the run


class TransferRow(Difference):
    """One task of a transfer table: the adapter against the one that learned the task alone, or against the base."""

    task: str
    metric: str
    base: float | None  # None: the base was not measured
    alone: float | None  # None where the reference is the base
    together: float
    p: float
    p_holm: float  # adjusted for the number of tasks compared
    verdict: Verdict
    examples: int
    p_mcnemar: float | None = None  # of the share of right answers; None: examples are not right or wrong
    reference: str = "alone"  # the subject that it is compared with
    against: Against = "alone"  # what that subject is
    seeds: int = 1  # trainings of each side
    # Standard deviation of the difference from one training to the next, in the metric's unit. With one seed it is an
    # estimate from how far validation scores moved between the last looks; None where nothing tells.
    noise: float | None = None
    margin: float | None = None  # a loss of less than this counts as none; None in runs of before it was asked
    worst: float | None = None  # the lowest difference that is not ruled out: of the interval, and by so few rows
    likelihood: LossDifference | None = None  # a second, more sensitive measure; it decides nothing

    @property
    def no_worse(self) -> bool:
        """Whether a loss as large as the margin is ruled out."""
        return self.margin is not None and self.worst is not None and self.worst > -self.margin

    @property
    def before(self) -> float:
        """The score of the reference."""
        measured = self.alone if self.alone is not None else self.base
        return self.together - self.difference if measured is None else measured

    def with_reference(self, reference: str) -> "TransferRow":
        """The same comparison with its reference named; the base's score is no score of an adapter alone."""
        if reference != BASE:
            return self.model_copy(update={"reference": reference, "against": "alone"})
        return self.model_copy(update={"reference": BASE, "against": "base", "alone": None})


class TransferSummary(Record):
    """A transfer table over all tasks; relative changes are None where no task has a baseline to divide by."""

    delta_m: float | None  # mean of (together − reference) / |reference|; Maninis et al. 2019, arXiv:1904.08918
    median_change: float | None  # median of the same
    mean_points: float  # mean of 100 · (together − reference), over all tasks
    points_low: float | None = None  # the interval of that mean; None in runs of before it was measured
    points_high: float | None = None
    left_out: tuple[str, ...] = ()  # tasks without a relative change: |reference| is below 0.05
    verdicts: dict[Verdict, tuple[str, ...]]  # verdict -> tasks
    # Undecided task -> the smallest true difference that four of five such tests would show.
    detectable: dict[str, float] = Field(default_factory=dict[str, float])
    settle: dict[str, Settle] = Field(default_factory=dict[str, Settle])  # undecided task -> what would decide it
    margin: float | None = None  # as in the rows
    no_worse: tuple[str, ...] = ()  # tasks on which a loss as large as the margin is ruled out

    @property
    def loses_nothing(self) -> bool:
        """Whether a loss as large as the margin is ruled out on every task at once.

        No correction for the number of tasks is due: all of them must pass (intersection-union test, Berger 1982).
        """
        return self.margin is not None and len(self.no_worse) == sum(map(len, self.verdicts.values()))

    def count(self, words: Collection[Verdict]) -> int:
        """Tasks with any of some verdicts."""
        return sum(len(tasks) for verdict, tasks in self.verdicts.items() if verdict in words)

    @property
    def points_text(self) -> str:
        """Mean points with their interval, where the version that kept it knew one."""
        mean = f"{self.mean_points:+.1f} points"
        if self.points_low is None or self.points_high is None:
            return mean
        return f"{mean} [{self.points_low:+.1f}, {self.points_high:+.1f}]"


class TransferTable(Record):
    """A row per task, in the order they were asked for, and what they come to over all tasks."""

    tasks: tuple[TransferRow, ...] = Field(min_length=1)
    summary: TransferSummary


class GeneralLoss(Record):
    """Mean loss on a general set, before training (by `base`) and after."""

    examples: int
    loss: dict[str, float] = Field(min_length=1)  # subject -> nats per answer token


class RetentionChange(Difference):
    """An adapter against the base on a set that nothing trained on."""

    p: float = 1.0  # not adjusted


class RetentionScores(TaskScores):
    """A retention set: scored like a task, by the base and each compared adapter."""

    examples: int
    change: dict[str, RetentionChange]  # adapter -> difference to the base


class Scores(Document):
    """The final table of a run. A subject is `base` or an adapter; each compared adapter has a transfer table."""

    REMEDY = "multitune eval RUN"
    schema_version: int = 2

    split: str
    confidence: float = Field(gt=0.0, lt=1.0)
    resamples: int = Field(ge=1)
    budget: Budget | None = None  # None in runs of before it was written down
    training_seconds: float = 0.0  # of all adapters and seeds; 0 in runs of before it was written down
    tasks: dict[str, TaskScores]
    transfer: dict[str, TransferTable]  # adapter -> its table
    general: dict[str, GeneralLoss] = Field(default_factory=dict[str, GeneralLoss])
    retention: dict[str, RetentionScores] = Field(default_factory=dict[str, RetentionScores])

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Version 2 says `ahead in this run` where older ones, of one training, said `helped`."""
        if version != 1:
            return value
        words = dict(zip(OF_SEEDS, OF_ONE_RUN, strict=True))
        for table in value.get("transfer", {}).values():
            for row in table["tasks"]:
                row["verdict"] = words.get(row["verdict"], row["verdict"])
            verdicts = table["summary"]["verdicts"]
            table["summary"]["verdicts"] = {words.get(word, word): tasks for word, tasks in verdicts.items()}
        return value

    @property
    def warnings(self) -> list[str]:
        """Adapters that answer alike whatever is asked: what they score says little of what was learnt."""
        return [
            f"{subject} on {task}: {score.degenerate}"
            for task, found in self.tasks.items()
            for subject, score in found.scores.items()
            if score.degenerate and subject != BASE
        ]

    def joined_with(self, other: "Scores") -> "Scores":
        """These scores with the tasks and transfer tables of a task that joined later."""
        tasks, transfer = {**self.tasks, **other.tasks}, {**self.transfer, **other.transfer}
        return self.model_copy(update={"tasks": tasks, "transfer": transfer})
