"""findings.json: what a study found; and the plan of one. Points are hundredths of a task's metric."""

from typing import Any, Literal

from pydantic import Field

from multitune.core.results.base import Document, Record
from multitune.core.results.scores import TransferRow, TransferSummary, Verdict

Budget = Literal["together", "equal_passes", "equal_steps", "short"]  # short: of older studies


class ArmScore(Record):
    """An arm on the rows of one task and split."""

    score: float
    loss: float  # mean over the rows, nats per answer token
    examples: int


class ArmRecord(Record):
    """One trained adapter of a study: what it learned from, cost and scores; splits it did not answer are empty."""

    key: str
    name: str = ""
    tasks: tuple[str, ...]
    general: float = 0.0
    schedule: str = ""
    seed: int
    steps: int
    tokens: int
    seconds: float
    budget: Budget | None = None
    validation: dict[str, ArmScore] = Field(default_factory=dict[str, ArmScore])  # task -> score
    test: dict[str, ArmScore] = Field(default_factory=dict[str, ArmScore])


class StudyTask(Record):
    """A task of a study, and the base's score on it by split."""

    metric: str
    base: dict[str, float | None]


class StudyRow(TransferRow):
    """A task of a comparison, and the tasks that it was trained with."""

    group: tuple[str, ...] = ()


class StudyComparison(Record):
    """A transfer table over seeds and rows."""

    tasks: tuple[StudyRow, ...]
    summary: TransferSummary
    rows: str = ""  # split


class Variant(StudyComparison):
    """All tasks together under one schedule and share of general data, against each task alone."""

    schedule: str
    general: float | None = None
    seeds: tuple[int, ...] = ()
    validation: float | None = None  # mean metric


class Recommendation(Record):
    """What to train together."""

    groups: tuple[tuple[str, ...], ...]
    why: str = ""
    measured_gain: float | None = None  # mean relative gain in loss
    longer_alone: dict[str, int] = Field(default_factory=dict[str, int])  # task -> steps that serve it better alone
    tasks: dict[str, StudyRow] = Field(default_factory=dict[str, StudyRow])


class Helps(Record):
    """Who helps whom: points that the row's task gains when trained with the column's; None on the diagonal."""

    tasks: tuple[str, ...]
    points: tuple[tuple[float | None, ...], ...]
    low: tuple[tuple[float | None, ...], ...] | None = None
    high: tuple[tuple[float | None, ...], ...] | None = None
    p_holm: tuple[tuple[float | None, ...], ...] | None = None
    verdict: tuple[tuple[Verdict | None, ...], ...] | None = None


class Effect(Record):
    """What tasks in the mixture do, in points, over the combinations that were measured."""

    name: str | None = None
    tasks: tuple[str, ...]
    task: str | None = None  # that it is done to; None: to all
    effect: float | None
    low: float | None = None
    high: float | None = None
    combinations: int | None = None


class Synergy(Record):
    """Effects of pairs, beyond pairs, and of groups of related tasks."""

    pairs: tuple[Effect, ...] = ()
    higher: tuple[Effect, ...] = ()
    groups: tuple[Effect, ...] = ()


class StudyCost(Record):
    """What a search took, against training every combination once."""

    spent_tokens: float
    spent_seconds: float
    everything_tokens: float
    everything_seconds: float
    ratio: float | None
    measured_share: float | None = None


class Findings(Document):
    """Everything a study found; what it did not get to is empty."""

    REMEDY = "multitune study FILE"

    study: str
    base: str = ""
    split: str = "validation"  # what was chosen by
    reported: str = "test"
    choose_by: str = "loss"
    confidence: float = 0.95
    sentence: str = ""
    tasks: dict[str, StudyTask] = Field(default_factory=dict[str, StudyTask])
    arms: tuple[ArmRecord, ...] = ()
    recommended: Recommendation | None = None
    comparisons: dict[str, StudyComparison] = Field(default_factory=dict[str, StudyComparison])
    helps: Helps | None = None
    synergy: Synergy = Synergy()
    variants: tuple[Variant, ...] = ()
    cost: StudyCost | None = None

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Older files have null where a study had not got to a part yet."""
        return {key: part for key, part in value.items() if part is not None}


class PlannedPart(Record):
    """One part of a study's plan."""

    what: str
    arms: int | None
    tokens: float | None  # None: as the budget allows


class StudyPlan(Document):
    """What a study would train, without training."""

    study: str
    tasks: dict[str, int]  # task -> training rows
    parts: tuple[PlannedPart, ...]
    arms_at_once: int
    combinations: int
    everything_tokens: float


class TrialRecord(Record):
    """One trial of a hyperparameter search."""

    number: int
    state: Literal["complete", "pruned", "failed", "unfinished"]
    value: float | None  # of the objective
    values: dict[str, float | None]  # field -> value
    note: str = ""


class TrialsReport(Document):
    """trials.json of `multitune tune`."""

    REMEDY = "multitune tune FILE"

    objective: Literal["loss", "metric"]
    criterion: str
    best: int | None
    trials: tuple[TrialRecord, ...]
    importance: dict[str, float] | None  # field -> share of the variance that it explains
    best_file: str
    command: str
