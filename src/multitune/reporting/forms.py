"""The forms of a run's files, checked before anything is told from them: events, scores, the routing table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from multitune.config.adapters import BASE
from multitune.core.errors import RunFolderError
from multitune.core.files import read_json
from multitune.core.run_folder import ROUTING_REPORT, ROUTING_TABLE, RunFolder

Verdict = Literal["helped", "hurt", "cannot tell"]


class _Form(BaseModel):
    """What readers rely on; whatever else is there stays."""

    model_config = ConfigDict(extra="allow")


class _StepAdapter(_Form):
    tasks: dict[str, float]
    shares: dict[str, float]


class _Step(_Form):
    step: int = Field(ge=1)
    steps: int = Field(ge=1)
    seconds: float
    tokens: int
    adapters: dict[str, _StepAdapter]


class _Measured(_Form):
    loss: float
    metric: float | None


class _Validation(_Form):
    step: int
    adapter: str
    tasks: dict[str, _Measured]
    best: list[str]


class _Phase(_Form):
    name: str


class _Frozen(_Form):
    step: int
    adapter: str
    task: str


class _Note(_Form):
    text: str


class _Evaluated(_Form):
    adapter: str
    task: str
    metric: str
    score: float


EVENTS: Mapping[str, type[_Form]] = {
    "step": _Step,
    "validation": _Validation,
    "phase": _Phase,
    "frozen": _Frozen,
    "note": _Note,
    "evaluated": _Evaluated,
}


class _Score(_Form):
    score: float
    examples: int
    loss: float


class _Task(_Form):
    kind: str
    metric: str
    scores: dict[str, _Score]


class _Row(_Form):
    task: str
    metric: str
    base: float | None
    alone: float | None
    together: float
    difference: float
    low: float
    high: float
    p_holm: float
    verdict: Verdict
    examples: int


class _Summary(_Form):
    delta_m: float | None
    median_change: float | None
    mean_points: float
    points_low: float | None = None  # runs of before have no interval
    points_high: float | None = None
    left_out: list[str]
    verdicts: dict[Verdict, list[str]]


class _Transfer(_Form):
    tasks: list[_Row]
    summary: _Summary


class _General(_Form):
    examples: int
    loss: dict[str, float] = Field(min_length=1)


class _Change(_Form):
    difference: float
    low: float
    high: float


class _Retention(_Task):
    examples: int
    change: dict[str, _Change]

    @model_validator(mode="after")
    def _changes_are_between_scores(self) -> "_Retention":
        if missing := {BASE, *self.change} - self.scores.keys():
            raise ValueError(f"no score of {', '.join(sorted(missing))}")
        return self


class _Scores(_Form):
    split: str
    confidence: float = Field(gt=0.0, lt=1.0)
    resamples: int = Field(ge=1)
    tasks: dict[str, _Task]
    transfer: dict[str, _Transfer]
    general: dict[str, _General]
    retention: dict[str, _Retention]


class _Shipped(_Form):
    adapter: str
    path: str
    metric: str
    examples: int
    why: str


class _Cost(_Form):
    together: int
    separate: int
    ratio: float
    shipped: list[str]
    droppable: list[str]


class _Table(_Form):
    tasks: dict[str, _Shipped]
    cost: _Cost


class _View(_Form):
    accuracy: float
    same_adapter: float
    turned_away: float
    calibration_error: float


class _Strangers(_Form):
    auroc: float
    routed: float


class _RoutedScores(_Form):
    base: float
    oracle: float
    routed: float
    routed_body: float


class _Routed(_Form):
    metric: str
    examples: int
    scores: _RoutedScores
    routed: _Change
    routed_body: _Change


class _AfterChange(_Form):
    change: dict[str, Any]
    views: dict[str, _View]


class _Uniform(_Form):
    adapters: list[str]
    scores: dict[str, float]


class _Arrow(_Form):
    adapters: list[str]
    examples: int
    accuracy: float


class _Rivals(_Form):
    uniform: _Uniform | None = None
    arrow: _Arrow | None = None


class _Report(_Form):
    rows: str
    rivals: _Rivals = _Rivals()  # absent before there were any
    views: dict[str, _View]
    kinds: dict[str, float]
    general: dict[str, _Strangers]
    left_out: dict[str, _Strangers]
    tasks: dict[str, _Routed]


class _Versions(_Form):
    packages: dict[str, str | None]
    python: str


class _Set(_Form):
    digests: dict[str, str]
    rows: dict[str, int]
    too_long: dict[str, list[Any]]


class _Data(RootModel[dict[str, _Set]]):
    pass


def checked_event(event: Any) -> dict[str, Any]:
    """An event as it was read, if a reader can rely on it; kinds that are not known here pass.

    Raises:
        ValueError: it is no event, or one of a known kind without what that kind holds.
    """
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        raise ValueError("an event is an object with a kind")
    form = EVENTS.get(event["kind"])
    if form is not None:
        form.model_validate(event)
    return event


def read_scores(folder: RunFolder) -> dict[str, Any]:
    """scores.json as evaluation.scores describes it.

    Raises:
        RunFolderError: missing, damaged, or in another form.
    """
    return _read(folder.scores, _Scores, f"multitune eval {folder.path}")


def read_table(folder: RunFolder) -> dict[str, Any] | None:
    """table.json of the last routing version; None where there is none.

    Raises:
        RunFolderError: damaged, or in another form.
    """
    versions = folder.routing_versions
    if not versions:
        return None
    return _read(versions[-1] / ROUTING_TABLE, _Table, f"multitune select {folder.path}")


def read_router_report(folder: RunFolder) -> dict[str, Any]:
    """report.json of the last routing version, which must be there; after a change of the tasks, of views alone.

    Raises:
        RunFolderError: missing, damaged, or in another form.
    """
    path = folder.routing_versions[-1] / ROUTING_REPORT
    value = read_json(path)
    form = _AfterChange if isinstance(value, dict) and "change" in value else _Report
    return _read(path, form, f"multitune select {folder.path}")


def read_versions(folder: RunFolder) -> dict[str, Any]:
    """versions.json (see core.versions).

    Raises:
        RunFolderError: missing, damaged, or in another form.
    """
    return _read(folder.versions, _Versions, "multitune train")


def read_data(folder: RunFolder) -> dict[str, Any]:
    """data.json (see training.prepare).

    Raises:
        RunFolderError: missing, damaged, or in another form.
    """
    return _read(folder.data, _Data, "multitune train")


def _read(path: Path, form: type[BaseModel], command: str) -> dict[str, Any]:
    value = read_json(path)
    try:
        form.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise RunFolderError(
            f"{path}: damaged, or written by another version: {place}: {first['msg']}. Make it again: {command}"
        ) from error
    return value


def plain(text: object) -> str:
    """Text of unknown origin for a terminal or a table: one line, and no control character acts."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))
