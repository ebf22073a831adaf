"""A run as it goes: a live bar and table on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SMOOTHING = 0.8  # how much of the shown loss is what it was a step ago: single steps are noisy
LINES = 10  # progress lines in a log, besides validations
PHASES = {
    "prepare": "reading and tokenising the data",
    "load": "loading the base",
    "train": "training",
    "evaluate": "evaluating",
    "select": "choosing each task's adapter, fitting the router",
}


class Meter:
    """What the steps of a run add up to: smoothed losses, speed, and the time that is left."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}  # the last step event; empty before the first
        self._losses: dict[str, dict[str, float]] = {}  # adapter -> task -> smoothed loss
        self._seconds = 0.0
        self._tokens = 0
        self._first_step = 0
        self._started = 0.0

    def take(self, event: Mapping[str, Any]) -> None:
        """Count one step."""
        if not self.latest:
            self._first_step, self._started = event["step"] - 1, time.monotonic() - event["seconds"]
        self.latest = dict(event)
        self._seconds += event["seconds"]
        self._tokens += event["tokens"]
        for name, adapter in event["adapters"].items():
            seen = self._losses.setdefault(name, {})
            for task, loss in adapter["tasks"].items():
                seen[task] = SMOOTHING * seen[task] + (1 - SMOOTHING) * loss if task in seen else loss

    def place(self) -> str:
        """Where the run is, and how fast it goes."""
        step, steps = self.latest["step"], self.latest["steps"]
        speed = self._tokens / max(self._seconds, 1e-9)
        return f"step {step}/{steps} ({step / steps:.0%}), {speed:,.0f} tokens/s"

    def headline(self) -> str:
        """`place`, and the time that is left."""
        step, steps = self.latest["step"], self.latest["steps"]
        # Of a run that is read from its diary, the steps took longer than the reading.
        elapsed = max(time.monotonic() - self._started, self._seconds)
        left = elapsed / max(step - self._first_step, 1) * (steps - step)
        return f"{self.place()}, {duration(left)} left"

    def line(self) -> str:
        """All in one line, for a log."""
        return f"{self.headline()}: loss {', '.join(f'{task} {cells[0]}' for task, cells in self.rows().items())}"

    def picture(self, headline: str) -> RenderableType:
        """A bar with a headline, and a table of the tasks."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("task")
        for title in ("loss", "alone", "share"):
            table.add_column(title, justify="right")
        for task, cells in self.rows().items():
            table.add_row(Text(task), *cells)
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=self.latest["steps"], completed=self.latest["step"], width=24)
        head.add_row(bar, Text(headline))
        return Group(head, table)

    def rows(self) -> dict[str, tuple[str, str, str]]:
        """Task -> its loss in the first adapter that learns it, its loss in an adapter of its own, its share now."""
        rows: dict[str, tuple[str, str, str]] = {}
        for name, losses in self._losses.items():
            shares = self.latest["adapters"].get(name, {}).get("shares", {})
            for task, loss in losses.items():
                if task not in rows:
                    rows[task] = (f"{loss:.3f}", "", f"{shares[task]:.0%}" if task in shares else "")
                elif len(losses) == 1:
                    first, _, share = rows[task]
                    rows[task] = (first, f"{loss:.3f}", share)
        return rows


class Watch:
    """Shows the events of a run (see core.events) on a console; used as `with Watch(console) as watch`.

    Kinds of events that it does not know are passed over.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True) if console.is_terminal else None
        self._meter = Meter()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was, with the last state printed if the run broke off."""
        self._stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        if event["kind"] == "step":
            self._step(event)
            return
        if event["kind"] == "phase" and event["name"] in ("evaluate", "load"):
            self._stop()
            if event["name"] == "load":  # a training begins; a search and a study have many
                self._meter = Meter()
        if line := event_line(event):
            self.say(line)

    def say(self, text: str) -> None:
        """One line above the live picture."""
        # In one piece: a log's reader breaks lines as he likes.
        self._console.print(Text(text), soft_wrap=True)

    def go_back(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Forget what was seen but for these events: a resumed run goes back to its last checkpoint."""
        self._meter = Meter()
        for event in events:
            if event["kind"] == "step":
                self._meter.take(event)
        self.say(f"back to step {self._meter.latest.get('step', 0)}, from where the run goes on")

    def _step(self, event: Mapping[str, Any]) -> None:
        self._meter.take(event)
        if self._live:
            if not self._live.is_started:
                self._live.start()
            # Drawn a few times a second, however short the steps.
            self._live.update(self._meter.picture(self._meter.headline()))
        elif _is_due(event["step"], event["steps"]):
            self.say(self._meter.line())

    def _stop(self) -> None:
        if self._live and self._live.is_started:
            self._live.stop()
            self.say(self._meter.headline())


@contextmanager
def reading(console: Console) -> Generator[Callable[[str, int, int], None]]:
    """Within the block, a bar per task that goes with the rows read; yields what `prepare_run` tells them to."""
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bars:
        bar_of: dict[str, TaskID] = {}

        def tell(name: str, done: int, rows: int) -> None:
            if name not in bar_of:
                bar_of[name] = bars.add_task(f"reading {name}", total=None)
            bars.update(bar_of[name], completed=done, total=rows or None)

        yield tell


def event_line(event: Mapping[str, Any]) -> str:
    """One event in one line; empty for steps and kinds that a reader need not know."""
    match event["kind"]:
        case "phase":
            return f"{PHASES.get(event['name'], event['name'])} …"
        case "validation":
            return validation_line(event)
        case "frozen":
            return f"step {event['step']}: {event['adapter']} draws {event['task']} no more; it overfits"
        case "note":
            return f"note: {event['text']}"
        case "asked" if _is_due(event["done"], event["of"]):
            return f"{event['done']:,} of {event['of']:,} answers"
        case "evaluated":
            return f"evaluated {event['task']} with {event['adapter']}: {event['metric']} {event['score']:.3f}"
        case _:
            return ""


def validation_line(event: Mapping[str, Any]) -> str:
    """One validation in one line: losses, scores in brackets where they were measured, and what it is the best of."""
    shown = [
        f"{task} {values['loss']:.3f}" + ("" if values["metric"] is None else f" (score {values['metric']:.3f})")
        for task, values in event["tasks"].items()
    ]
    over_all = [criterion for criterion in event["best"] if not criterion.startswith("task:")]
    best = f"; best {', '.join(over_all)} so far" if over_all and event["step"] else ""
    return f"step {event['step']}: validation of {event['adapter']}: {', '.join(shown)}{best}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _is_due(step: int, steps: int) -> bool:
    """Whether a tenth of the run was completed by this step."""
    return step == steps or step * LINES // steps > (step - 1) * LINES // steps
