"""What the diary of a run adds up to: loss curves, shares over time, chosen checkpoints, tokens and seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

POINTS = 160  # of a line at most: a page has no room for more
WINDOWS = 24  # in which achieved shares are counted


@dataclass(slots=True)
class Curve:
    """One adapter's losses on one task, in nats per answer token, over the rows of the task that it has seen."""

    adapter: str
    task: str
    train: list[tuple[int, int, float]] = field(default_factory=list[tuple[int, int, float]])  # (step, rows, loss)
    validation: list[tuple[int, int, float]] = field(default_factory=list[tuple[int, int, float]])
    chosen: int | None = None  # step of the checkpoint that the run kept


@dataclass(slots=True)
class Shares:
    """One adapter's configured and achieved share of one set, by step."""

    adapter: str
    name: str
    configured: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    achieved: list[tuple[int, float]] = field(
        default_factory=list[tuple[int, float]]
    )  # within a window that ends here


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


def curves(events: Sequence[Mapping[str, Any]], selection: Mapping[str, Any]) -> list[Curve]:
    """Every adapter's curve on every task it learns, in the order of the diary."""
    found: dict[tuple[str, str], Curve] = {}
    rows: dict[tuple[str, str], int] = {}
    steps: dict[str, int] = {}
    for event in events:
        if event["kind"] == "step":
            for adapter, facts in event["adapters"].items():
                steps[adapter] = steps.get(adapter, 0) + 1
                rows |= {(adapter, task): int(drawn) for task, drawn in facts["achieved"].items()}
                for task, loss in facts["tasks"].items():
                    curve = found.setdefault((adapter, task), Curve(adapter, task))
                    curve.train.append((steps[adapter], rows[adapter, task], float(loss)))
        elif event["kind"] == "validation":
            adapter = event["adapter"]
            steps[adapter] = int(event["step"])
            for task, shown in event["tasks"].items():
                curve = found.setdefault((adapter, task), Curve(adapter, task))
                curve.validation.append((int(event["step"]), rows.get((adapter, task), 0), float(shown["loss"])))
    for curve in found.values():
        curve.chosen = (selection.get(curve.adapter) or {}).get("chosen")
    return list(found.values())


def shares(events: Sequence[Mapping[str, Any]]) -> list[Shares]:
    """Shares of every adapter that draws from several sets."""
    found: dict[tuple[str, str], Shares] = {}
    drawn: dict[str, list[Mapping[str, int]]] = {}
    for event in events:
        if event["kind"] != "step":
            continue
        for adapter, facts in event["adapters"].items():
            if len(facts["shares"]) < 2:
                continue
            drawn.setdefault(adapter, []).append(facts["achieved"])
            for name, share in facts["shares"].items():
                line = found.setdefault((adapter, name), Shares(adapter, name))
                line.configured.append((len(drawn[adapter]), float(share)))
    for adapter, counts in drawn.items():
        for step, window in _windows(counts):
            total = sum(window.values())
            for name, rows in window.items():
                if (adapter, name) in found:
                    found[adapter, name].achieved.append((step, rows / total if total else 0.0))
    return list(found.values())


def _windows(counts: Sequence[Mapping[str, int]]) -> Iterator[tuple[int, dict[str, int]]]:
    """Rows drawn in each of some windows of equal length, with the step that each ends at."""
    width = max(1, -(-len(counts) // WINDOWS))
    before: Mapping[str, int] = {}
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


def smoothed(points: Sequence[tuple[int, int, float]], width: int = 0) -> list[tuple[int, int, float]]:
    """Means of loss over `width` neighbours (a fifteenth of the curve where 0), which single noisy steps hide."""
    width = width or max(1, len(points) // 15)
    out: list[tuple[int, int, float]] = []
    running = 0.0
    for place, (step, rows, loss) in enumerate(points):
        running += loss
        if place >= width:
            running -= points[place - width][2]
        out.append((step, rows, running / min(place + 1, width)))
    return out


def spent(events: Sequence[Mapping[str, Any]]) -> Spent:
    """Sums over all steps."""
    total = Spent()
    for event in events:
        if event["kind"] != "step":
            continue
        total.steps += 1
        total.seconds += float(event["seconds"])
        total.tokens += int(event["tokens"])
        total.logical_tokens += int(event["logical_tokens"])
        total.answer_tokens += int(event["answer_tokens"])
        for adapter, facts in event["adapters"].items():
            total.adapter_steps[adapter] = total.adapter_steps.get(adapter, 0) + 1
            total.adapter_rows[adapter] = sum(facts["achieved"].values())
    return total


def notes(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the run said of itself on the way: notes, and tasks that it stopped drawing."""
    said = [str(event["text"]) for event in events if event["kind"] == "note"]
    frozen = [
        f"step {event['step']}: {event['adapter']} drew {event['task']} no more; it overfitted"
        for event in events
        if event["kind"] == "frozen"
    ]
    return list(dict.fromkeys([*said, *frozen]))
