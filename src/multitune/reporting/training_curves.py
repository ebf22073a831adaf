"""What the events of a run add up to: loss curves, shares over time, chosen checkpoints, tokens and seconds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multitune.core.results.events import Event, FrozenEvent, NoteEvent, StepEvent, ValidationEvent
from multitune.core.results.run import Selection

POINTS = 160  # of a line at most: a page has no room for more
WINDOWS = 24  # in which achieved shares are counted

Point = tuple[int, int, float]  # step, rows of the task seen, loss
Share = tuple[int, float]  # step, share


@dataclass(slots=True)
class Curve:
    """One adapter's losses on one task, in nats per answer token, over the rows of the task that it has seen."""

    adapter: str
    task: str
    train: list[Point] = field(default_factory=list[Point])
    validation: list[Point] = field(default_factory=list[Point])
    chosen: int | None = None  # step of the checkpoint that the run kept


@dataclass(slots=True)
class Shares:
    """One adapter's configured and achieved share of one set, by step."""

    adapter: str
    name: str
    configured: list[Share] = field(default_factory=list[Share])
    achieved: list[Share] = field(default_factory=list[Share])  # within a window that ends here


@dataclass(slots=True)
class Spent:
    """What training took, evaluation left out."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0  # computed, shared prefixes once
    logical_tokens: int = 0  # of the same rows one by one
    answer_tokens: int = 0
    adapter_steps: dict[str, int] = field(default_factory=dict[str, int])
    adapter_rows: dict[str, int] = field(default_factory=dict[str, int])


def curves(events: Sequence[Event], selection: Selection | None) -> list[Curve]:
    """Every adapter's curve on every task it learns, in the order of the log."""
    found: dict[tuple[str, str], Curve] = {}
    rows: dict[tuple[str, str], int] = {}
    steps: dict[str, int] = {}
    for event in events:
        if isinstance(event, StepEvent):
            for name, adapter in event.adapters.items():
                steps[name] = steps.get(name, 0) + 1
                rows |= {(name, task): int(drawn) for task, drawn in adapter.achieved.items()}
                for task, loss in adapter.tasks.items():
                    curve = found.setdefault((name, task), Curve(name, task))
                    curve.train.append((steps[name], rows[name, task], loss))
        elif isinstance(event, ValidationEvent):
            name = event.adapter
            steps[name] = event.step
            for task, shown in event.tasks.items():
                curve = found.setdefault((name, task), Curve(name, task))
                curve.validation.append((event.step, rows.get((name, task), 0), shown.loss))
    kept = selection.adapters if selection else {}
    for curve in found.values():
        curve.chosen = kept[curve.adapter].chosen if curve.adapter in kept else None
    return list(found.values())


def shares(events: Sequence[Event]) -> list[Shares]:
    """Shares of every adapter that draws from several sets."""
    found: dict[tuple[str, str], Shares] = {}
    drawn: dict[str, list[Mapping[str, float]]] = {}
    for event in steps_of(events):
        for name, adapter in event.adapters.items():
            if len(adapter.shares) < 2:
                continue
            drawn.setdefault(name, []).append(adapter.achieved)
            for task, share in adapter.shares.items():
                line = found.setdefault((name, task), Shares(name, task))
                line.configured.append((len(drawn[name]), share))
    for name, counts in drawn.items():
        for step, window in _windows(counts):
            total = sum(window.values())
            for task, rows in window.items():
                if (name, task) in found:
                    found[name, task].achieved.append((step, rows / total if total else 0.0))
    return list(found.values())


def steps_of(events: Iterable[Event]) -> Iterator[StepEvent]:
    """The steps among events."""
    return (event for event in events if isinstance(event, StepEvent))


def _windows(counts: Sequence[Mapping[str, float]]) -> Iterator[tuple[int, dict[str, float]]]:
    """Rows drawn in each of some windows of equal length, with the step that each ends at."""
    width = max(1, -(-len(counts) // WINDOWS))
    before: Mapping[str, float] = {}
    for end in range(width, len(counts) + 1, width):
        after = counts[end - 1]
        yield end, {name: rows - before.get(name, 0) for name, rows in after.items()}
        before = after


def thinned(points: Sequence[Any]) -> list[Any]:
    """At most POINTS of them, evenly, the last one included."""
    if len(points) <= POINTS:
        return list(points)
    stride = (len(points) - 1) / (POINTS - 1)
    return [points[round(place * stride)] for place in range(POINTS)]


def smoothed(points: Sequence[Point], width: int = 0) -> list[Point]:
    """Means of loss over `width` neighbours (a fifteenth of the curve where 0), which single noisy steps hide."""
    width = width or max(1, len(points) // 15)
    out: list[Point] = []
    running = 0.0
    for place, (step, rows, loss) in enumerate(points):
        running += loss
        if place >= width:
            running -= points[place - width][2]
        out.append((step, rows, running / min(place + 1, width)))
    return out


def spent(events: Sequence[Event]) -> Spent:
    """Sums over all steps."""
    total = Spent()
    for event in steps_of(events):
        total.steps += 1
        total.seconds += event.seconds
        total.tokens += event.tokens
        total.logical_tokens += event.logical_tokens
        total.answer_tokens += event.answer_tokens
        for name, adapter in event.adapters.items():
            total.adapter_steps[name] = total.adapter_steps.get(name, 0) + 1
            total.adapter_rows[name] = int(sum(adapter.achieved.values()))
    return total


def notes(events: Sequence[Event]) -> list[str]:
    """Notes of the run, and tasks that it stopped drawing."""
    texts = [event.text for event in events if isinstance(event, NoteEvent)]
    frozen = [
        f"step {event.step}: {event.adapter} drew {event.task} no more; it overfitted"
        for event in events
        if isinstance(event, FrozenEvent)
    ]
    return list(dict.fromkeys([*texts, *frozen]))
