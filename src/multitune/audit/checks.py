"""What a check of the audit is: a name, its thresholds, and a function from the sets of a run to what it found."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from multitune.audit.frames import Frame, frame_of_prompts, frame_of_template
from multitune.core.records import SPLITS, Example, Split
from multitune.core.results.audit import Finding, Measure, SkippedCheck
from multitune.core.text import text_key
from multitune.data.examples import Examples
from multitune.data.run_sets import Role
from multitune.data.splits import text_hash
from multitune.tasks.task import Task

LEAST_ROWS = 20  # rows from which on what all prompts begin with is taken for an instruction
Found = Finding | Measure | SkippedCheck


@dataclass(frozen=True)  # without slots, as what several checks need of a set is kept with it
class AuditSet:
    """One set of a run, as it is before rows that another set holds out are left out."""

    task: Task
    role: Role
    splits: Mapping[Split, Sequence[Example]]  # `Examples` where they lie on disk; an absent split is empty

    @property
    def name(self) -> str:
        """Its name in the run."""
        return self.task.name

    @property
    def kind(self) -> str:
        """classify | choice | generate | labels | number | regress | tag | text"""
        return self.task.kind

    def rows(self, split: Split) -> Sequence[Example]:
        """The rows of one split."""
        return self.splits.get(split, ())

    def texts(self, split: Split, column: Literal["id", "prompt", "answer"]) -> Iterator[str]:
        """One text of each row, in order, without making an `Example` of it."""
        rows = self.rows(split)
        return rows.texts(column) if isinstance(rows, Examples) else (getattr(row, column) for row in rows)

    @cached_property
    def frame(self) -> Frame:
        """The instruction around what its rows show."""
        if sum(self.sizes().values()) < LEAST_ROWS:
            return frame_of_template(self.task.config.prompt)
        return frame_of_prompts(prompt for split in SPLITS for prompt in self.texts(split, "prompt"))

    def shown(self, split: Split) -> Iterator[str]:
        """What each row shows, in order: its prompt without the instruction."""
        return map(self.frame.inside, self.texts(split, "prompt"))

    def shown_keys(self, split: Split) -> np.ndarray:
        """uint64 (row,) hash of what each row shows, without case and spacing."""
        return self._shown_keys[split]

    def answer_keys(self, split: Split) -> np.ndarray:
        """uint64 (row,) hash of the answer of each row, likewise."""
        return self._answer_keys[split]

    @cached_property
    def _shown_keys(self) -> Mapping[Split, np.ndarray]:
        return {split: _keys(self.shown(split), rows) for split, rows in self.sizes().items()}

    @cached_property
    def _answer_keys(self) -> Mapping[Split, np.ndarray]:
        return {split: _keys(self.texts(split, "answer"), rows) for split, rows in self.sizes().items()}

    def sizes(self) -> dict[Split, int]:
        """Rows of each split."""
        return {split: len(self.rows(split)) for split in SPLITS}


def _keys(texts: Iterator[str], rows: int) -> np.ndarray:
    """uint64 (row,) equal where the texts are, without case and spacing."""
    return np.fromiter((text_hash(text_key(text), 0) for text in texts), np.uint64, rows)


@dataclass(frozen=True, slots=True)
class Mixture:
    """How the sets are drawn: the share of each at some moments of the run."""

    shares: Sequence[Mapping[str, float]]  # by set, each sums to 1; start, middle and end of the run


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which value on something is a finding."""

    value: float
    reason: str  # why this value


@dataclass(frozen=True, slots=True)
class Audited:
    """What a check gets to see."""

    sets: Sequence[AuditSet]
    mixture: Mixture
    seed: int
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])  # of the check that looks, by name
    advance: Callable[[int], None] = lambda rows: None  # to be called with the number of rows that were looked at


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that a cleaned copy of its set goes without, and why."""

    set: str
    split: Split
    row: str  # its id
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the audit."""

    name: str  # such as duplicates.near; its findings and measures carry it
    title: str  # what it looks for, in a few words
    find: Callable[[Audited], Iterable[Found]]
    thresholds: Mapping[str, Threshold] = field(default_factory=dict[str, Threshold])
    drops: Callable[[Audited], Iterable[Dropped]] | None = None  # rows that a cleaned copy goes without
    # What a cleaned copy says instead of a text, such as a placeholder for each person; made once for all sets.
    redacts: Callable[[Audited], Callable[[str], str]] | None = None
