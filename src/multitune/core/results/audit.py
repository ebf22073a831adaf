"""audit: what the rows of a run's sets, and of their mixture, would teach a model that its owner does not want."""

from typing import Literal

from pydantic import computed_field

from multitune.core.records import Split
from multitune.core.results.base import Document, Record

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")


class Excerpt(Record):
    """A row that shows what was found; its text is short, and personal data in it is masked."""

    set: str
    split: Split
    row: str  # its id
    text: str


class Finding(Record):
    """One fault of one or several sets."""

    check: str  # name of the check, such as duplicates.near
    severity: Severity
    sets: tuple[str, ...]  # the sets it is about, sorted
    subject: str = ""  # what it is about, where a check finds several things: a label, a kind of secret, a term
    message: str  # one sentence: what was found, with its counts
    remedy: str  # one sentence: what to do
    rows: int  # that it concerns
    of: int  # rows that were looked at
    value: float | None = None  # what was compared with the threshold
    interval: tuple[float, float] | None = None  # of the value, at 95%
    threshold: float | None = None
    examples: tuple[Excerpt, ...] = ()
    accepted: str | None = None  # why a person found it to be no fault

    @computed_field  # so that programs find it in JSON
    @property
    def key(self) -> str:
        """What stays the same while the fault stays: by this it is accepted."""
        return ":".join(part for part in (self.check, "+".join(self.sets), self.subject) if part)


class Measure(Record):
    """A figure of a set that is no fault by itself, such as mentions of a group per 1,000 words."""

    check: str
    set: str  # `mixture` for all sets as they are drawn
    name: str
    value: float
    unit: str = ""
    interval: tuple[float, float] | None = None  # at 95%


class SkippedCheck(Record):
    """A check that was not made, and why."""

    check: str
    reason: str


class AuditedSet(Record):
    """A set that was audited, and its rows in each split."""

    name: str
    role: Literal["task", "general", "retention"]
    rows: dict[Split, int]


class CleanedSet(Record):
    """A cleaned copy of a set: rows that it holds, rows that were taken out, and rows in which texts were redacted."""

    name: str
    rows: int
    removed: int
    redacted: int


class Audit(Document):
    """All that an audit found, the worst first."""

    REMEDY = "multitune audit FILE"

    name: str
    sets: tuple[AuditedSet, ...]
    sampled: bool = False  # whether some sets were audited on a sample of their rows
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    skipped: tuple[SkippedCheck, ...] = ()
    stale: tuple[str, ...] = ()  # keys of accepted findings that no longer occur
    seconds: float = 0.0

    @property
    def open(self) -> tuple[Finding, ...]:
        """The findings that nobody has accepted."""
        return tuple(one for one in self.findings if one.accepted is None)

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that strict mode does not let pass: open, and of severity high."""
        return tuple(one for one in self.open if one.severity == "high")
