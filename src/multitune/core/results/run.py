"""The smaller files of a run (data, base, versions, selection), reports of `check` and `import`, a run in a line."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from multitune.core.records import Shot, Split
from multitune.core.results.audit import Audit
from multitune.core.results.base import Document, Record
from multitune.core.results.data import DataSummary, LabelCount
from multitune.core.results.scores import Budget, Verdict
from multitune.core.text import gib


class SetRecord(Record):
    """One set of a run: its rows, by hash and number."""

    general: bool = False
    digests: dict[Split, str]  # SHA-256 of the source that a split's rows come from
    rows: dict[Split, int]
    too_long: dict[Split, tuple[str, ...]]  # ids of rows that are left out
    labels: tuple[str, ...] = ()
    shots: tuple[Shot, ...] = ()  # in front of whatever its task is asked
    label_counts: tuple[LabelCount, ...] = ()  # the most frequent first; empty in runs of before they were kept
    held_elsewhere: int = 0  # training rows left out, as another set of the run holds them out


class DataRecord(Document):
    """data.json: every set of a run."""

    REMEDY = "multitune train"

    sets: dict[str, SetRecord]

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Older files held the sets alone."""
        return {"sets": value} if version == 0 else value


class BaseRecord(Document):
    """base.json: what the result of a run depends on besides its run file and its rows."""

    REMEDY = "multitune train"

    name: str
    fingerprint: str  # of its weights
    chat: str  # fingerprint of tokenizer, chat template and system text
    # Folder of a finished adapter that one of this run stacks on -> SHA-256.
    parents: dict[str, str] = Field(default_factory=dict[str, str])
    device: str
    dtype: str
    quantization: str | None = None


class Machine(Record):
    """What a run was made on."""

    system: str = ""
    processor: str = ""
    cores: int | None = None


class Versions(Document):
    """versions.json: what a run was made with."""

    REMEDY = "multitune train"

    packages: dict[str, str | None]  # name -> version, None where not installed
    python: str
    machine: Machine = Machine()

    @property
    def line(self) -> str:
        """Packages and Python, in one line."""
        named = [f"{name} {version}" for name, version in self.packages.items() if version]
        return ", ".join([*named, f"Python {self.python}"])


class BestStep(Record):
    """The best value of one criterion (lower is better) and the step it was reached at."""

    step: int
    value: float


StepRule = Literal["significant", "lowest_loss", "last"]


class AdapterSelection(Record):
    """Which step of an adapter was kept."""

    chosen: int
    why: str = ""  # empty in older runs
    by: str  # criterion
    best: dict[str, BestStep]  # criterion or `task:NAME` -> best
    noise: dict[str, float] = Field(default_factory=dict[str, float])  # task -> how far its score moved between looks


class Selection(Document):
    """selection.json: which step won, per adapter and criterion."""

    REMEDY = "multitune train … --resume"

    adapters: dict[str, AdapterSelection]
    events: int | None = None  # bytes of the event log when training ended; None in older runs

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Older files held the adapters alone."""
        return {"adapters": value} if version == 0 else value


class SetReport(Record):
    """A set as `check` shows it; tokens are those of the training rows."""

    name: str
    general: bool
    kind: str
    metric: str | None
    rows: dict[Split, int]
    too_long: dict[Split, int]
    held_elsewhere: int = 0  # training rows left out, as another set of the run holds them out
    tokens: int
    loss_tokens: int
    longest: int


class DrawnSet(Record):
    """What one adapter draws from one set."""

    name: str
    shares: tuple[float, float, float]  # at start, middle and end
    draws: float
    passes: float


class AdapterReport(Record):
    """An adapter as `check` shows it."""

    name: str
    steps: int
    learning_rate: float | None = None  # peak; None in older reports
    sets: tuple[DrawnSet, ...]


class MemoryParts(Record):
    """Bytes at the peak of training, by what they are for."""

    process: float  # on a CPU: Python and its libraries; 0 on an accelerator
    base: float
    adapters: float  # trained weights in float32, the copy that computes, and their gradients
    optimizer: float  # two moments of each trained weight
    activations: float  # of one pack, from the forward to the backward pass

    @property
    def total(self) -> float:
        """All of them."""
        return self.process + self.base + self.adapters + self.optimizer + self.activations

    @property
    def line(self) -> str:
        """Each part by name."""
        named = f"base {gib(self.base)}, adapters {gib(self.adapters)}, optimizer {gib(self.optimizer)}, "
        named += f"activations {gib(self.activations)}"
        return f"{named}, Python and its libraries {gib(self.process)}" if self.process else named


class Recomputed(Record):
    """Layers that are computed again on the way back, to save memory."""

    layers: int  # the first ones
    of: int
    slowdown: float  # of the run, by these


class SizeEstimate(Record):
    """What a run will ask of this machine."""

    parameters: int
    trainable_parameters: int
    executed_tokens: float
    memory_bytes: float
    seconds: float
    memory: MemoryParts | None = None  # None in older reports
    memory_budget: int | None = None  # of the run
    recomputed: Recomputed | None = None


class CheckReport(Document):
    """What a run would do, found out without loading a weight."""

    name: str
    base: str
    method: str
    device: str
    dtype: str
    quantization: str | None = None  # of the frozen base
    learning_rate: float
    batch_size: int
    schedule: str
    sets: tuple[SetReport, ...]
    adapters: tuple[AdapterReport, ...]
    seeds: int = 1  # trainings of each
    budget: Budget = "equal_passes"  # of an adapter alone
    estimate: SizeEstimate
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    data: tuple[DataSummary, ...] = ()  # of tasks and general sets
    audit: Audit | None = None  # of a sample of the rows; None where it is off


State = Literal["finished", "stopped", "running", "damaged"]
FolderKind = Literal["run", "study", "search"]


class RunSummary(Document):
    """One line about a folder of `runs list`; what could not be read is empty, and `missing` says why."""

    path: str
    name: str
    kind: FolderKind = "run"
    state: State
    changed: datetime  # when it last wrote something
    tasks: tuple[str, ...]  # those that joined later among them
    base: str
    verdicts: dict[Verdict, int] | None  # of its best table: verdict -> tasks
    bytes: int
    missing: tuple[str, ...] = ()


class Imported(Record):
    """`multitune import`: the run file that was written, and what differs from the config that it was made of."""

    tool: str
    file: str
    tasks: tuple[str, ...]
    notes: tuple[str, ...]  # what has no counterpart or differs, and what to do
