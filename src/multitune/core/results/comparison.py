"""Comparisons: a run against another model on its own rows, and runs against each other."""

from typing import Any, Literal

from pydantic import Field

from multitune.core.results.base import Document, Record, renamed
from multitune.core.results.scores import Difference, Verdict

Better = Literal["better", "worse", "cannot tell"]  # of ours
Parsing = Literal["strict", "lenient"]  # of outputs: as the task says, or for what they mean, whatever their form


class ComparedTask(Difference):
    """One task: ours − theirs."""

    task: str
    metric: str
    examples: int
    adapter: str  # ours
    base: float | None = None
    theirs: float
    ours: float
    p: float
    p_holm: float
    p_mcnemar: float | None = None
    verdict: Better


class Unparsed(Record):
    """Answers that could not be parsed."""

    ours: int
    theirs: int


class ParsedComparison(Record):
    """The table under one way to parse outputs; p is adjusted over its tasks."""

    tasks: tuple[ComparedTask, ...]
    unparsed: dict[str, Unparsed] = Field(default_factory=dict[str, Unparsed])  # task -> counts


class ApiUsage(Record):
    """What asking a model behind an API took, earlier answers included."""

    api_base: str
    model: str
    answered_by: tuple[str, ...] = ()  # as the server names it
    parameters: tuple[dict[str, Any], ...] = ()  # of the requests
    prompt_tokens: int
    answer_tokens: int
    uncounted: int = 0  # answers without a token count, taken at their most
    cost: float | None = None  # None without prices
    cut_short: dict[str, int] = Field(default_factory=dict[str, int])  # task -> answers that reached their limit


class ModelComparison(Document):
    """comparisons/SUBJECT.json: a run against another model."""

    REMEDY = "multitune compare RUN openai:MODEL"
    schema_version: int = 2

    against: str  # as the user wrote it
    subject: str  # the name of its predictions
    split: str
    confidence: float
    resamples: int
    ours: dict[str, str]  # task -> adapter
    parsing: dict[Parsing, ParsedComparison]
    usage: ApiUsage | None = None  # None of a local model

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Version 2 says `parsing`, `unparsed` and `usage` where older ones said `readings`, `unread` and nothing."""
        if version != 1:
            return value
        parsing = {name: renamed(part, {"unread": "unparsed"}) for name, part in value.pop("readings").items()}
        return {**value, "parsing": parsing, "usage": value if "api_base" in value else None}


class ComparedRun(Record):
    """One run's score on one task, and the difference to the first run (None for that one)."""

    adapter: str
    score: float
    low: float
    high: float
    difference: Difference | None = None
    p_holm: float | None = None
    verdict: Verdict | None = None


class ComparedRunsTask(Record):
    """One task in every run."""

    metric: str
    split: str
    examples: int
    runs: tuple[ComparedRun, ...]


class RunComparison(Document):
    """`multitune runs compare`: runs on the same rows, p adjusted over the tasks of each pair of runs."""

    runs: tuple[str, ...]  # paths
    confidence: float
    resamples: int
    left_out: tuple[str, ...]  # tasks that not all runs have
    tasks: dict[str, ComparedRunsTask]
