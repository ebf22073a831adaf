"""What happens during a run, one typed event per line of events.jsonl and for whoever watches."""

from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter

from multitune.core import seals
from multitune.core.results.base import Record


class PhaseEvent(Record):
    """A part of the run begins."""

    kind: Literal["phase"] = "phase"
    name: str  # prepare, audit, load, train, evaluate, select


class NoteEvent(Record):
    """Something worth knowing, as a sentence."""

    kind: Literal["note"] = "note"
    text: str


class AdapterStep(Record):
    """One adapter in one step; losses in nats per answer token."""

    loss: float = 0.0
    lr: float = 0.0
    grad_norm: float = 0.0
    step: int | None = None  # of this adapter, from 1; None in logs of older runs
    steps: int | None = None  # that it takes in all; None in logs of older runs
    tasks: dict[str, float]  # task -> mean loss of its rows in this step
    shares: dict[str, float]  # set -> configured share at this step
    achieved: dict[str, float] = Field(default_factory=dict[str, float])  # set -> rows drawn so far


class StepEvent(Record):
    """One optimizer step of all active adapters."""

    kind: Literal["step"] = "step"
    step: int = Field(ge=1)
    steps: int = Field(ge=1)
    seconds: float
    tokens: int  # computed, shared prefixes once
    logical_tokens: int = 0  # of the same rows laid out one by one
    answer_tokens: int = 0
    adapters: dict[str, AdapterStep]


class ValidatedTask(Record):
    """One task at one validation."""

    loss: float
    metric: float | None = None


class ValidationEvent(Record):
    """One adapter on validation rows."""

    kind: Literal["validation"] = "validation"
    step: int
    adapter: str
    tasks: dict[str, ValidatedTask]
    best: tuple[str, ...]  # criteria that this is the best of so far


class FrozenEvent(Record):
    """A task is drawn no more, since its validation loss stopped falling."""

    kind: Literal["frozen"] = "frozen"
    step: int
    adapter: str
    task: str


class CheckpointEvent(Record):
    """The training state was saved."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int


class EvaluatedEvent(Record):
    """A subject answered a task."""

    kind: Literal["evaluated"] = "evaluated"
    adapter: str
    task: str
    metric: str
    score: float


class ProgressEvent(Record):
    """So many of so many done, of something that takes its time and is no training step."""

    kind: Literal["progress"] = "progress"
    what: str  # such as `answers` or `candidates`
    done: int
    of: int


class DamagedEvent(Record):
    """A line of the log that is no event."""

    kind: Literal["damaged"] = "damaged"


class UnknownEvent(Record):
    """An event of a kind that this version does not know; readers pass it over."""

    kind: Literal["unknown"] = "unknown"


Event = (
    PhaseEvent
    | NoteEvent
    | StepEvent
    | ValidationEvent
    | FrozenEvent
    | CheckpointEvent
    | EvaluatedEvent
    | ProgressEvent
    | DamagedEvent
    | UnknownEvent
)
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])
KINDS: frozenset[str] = frozenset(event.model_fields["kind"].default for event in get_args(Event))


def parse_event(value: object) -> Event:
    """An event from plain values: `damaged` where it is none, `unknown` where its kind is not known here."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        return DamagedEvent()
    if kind not in KINDS:
        return UnknownEvent()
    try:
        return _EVENT.validate_python(value)
    except ValueError:
        return DamagedEvent()


def parse_line(line: bytes) -> Event:
    """An event from a line of a log, as `parse_event`."""
    try:
        return parse_event(seals.parse_line(line))
    except ValueError:
        return DamagedEvent()
