"""A run as it goes: a live bar and table on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from multitune.core.results.events import (
    EvaluatedEvent,
    Event,
    FrozenEvent,
    NoteEvent,
    PhaseEvent,
    ProgressEvent,
    StepEvent,
    ValidationEvent,
)
from multitune.core.text import printable
from multitune.reporting.formatting import duration

SMOOTHING = 0.8  # how much of the shown loss is what it was a step ago: single steps are noisy
LINES = 10  # progress lines in a log, besides validations
PHASES = {
    "prepare": "reading and tokenising the data",
    "audit": "auditing a sample of the data",
    "load": "loading the base",
    "train": "training",
    "evaluate": "evaluating",
    "select": "choosing each task's adapter, fitting the router",
}


class Meter:
    """What the steps of a run add up to: smoothed losses, speed, and the time that is left."""

    def __init__(self) -> None:
        self.latest: StepEvent | None = None  # None before the first
        self._losses: dict[str, dict[str, float]] = {}  # adapter -> task -> smoothed loss
        self._seconds = 0.0
        self._tokens = 0
        self._adapter_steps = 0
        self._first_step = 0
        self._started = 0.0

    def take(self, event: StepEvent) -> None:
        """Count one step."""
        if self.latest is None:
            self._first_step, self._started = event.step - 1, time.monotonic() - event.seconds
        self.latest = event
        self._seconds += event.seconds
        self._tokens += event.tokens
        self._adapter_steps += len(event.adapters)
        for name, adapter in event.adapters.items():
            seen = self._losses.setdefault(name, {})
            for task, loss in adapter.tasks.items():
                seen[task] = SMOOTHING * seen[task] + (1 - SMOOTHING) * loss if task in seen else loss

    def place(self) -> str:
        """Where the run is, and how fast it goes."""
        if self.latest is None:
            return ""
        step, steps = self.latest.step, self.latest.steps
        speed = self._tokens / max(self._seconds, 1e-9)
        return f"step {step}/{steps} ({step / steps:.0%}), {speed:,.0f} tokens/s"

    def headline(self) -> str:
        """`place`, and the time that is left."""
        return f"{self.place()}, {duration(self.seconds_left())} left"

    def seconds_left(self) -> float:
        """Seconds of training that are left.

        A step costs by the adapters that take part in it, and adapters of one task end early: so what is left is
        counted in steps of single adapters, as far as the log says how many each takes.
        """
        if self.latest is None:
            return 0.0
        step, steps = self.latest.step, self.latest.steps
        # Of a run that is read from its log, the steps took longer than the reading.
        elapsed = max(time.monotonic() - self._started, self._seconds)
        whole = elapsed / max(step - self._first_step, 1) * (steps - step)
        left: list[int] = []  # steps of each adapter that still takes part
        for adapter in self.latest.adapters.values():
            if adapter.step is None or adapter.steps is None:
                return whole
            left.append(adapter.steps - adapter.step)
        # Adapters that have not begun, since they stack on others, are not in the log yet: their steps count whole.
        unseen = max(0, steps - step - max(left, default=0)) * len(left)
        return elapsed / max(self._adapter_steps, 1) * (sum(left) + unseen)

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
            table.add_row(Text(printable(task)), *cells)
        head = Table.grid(padding=(0, 2))
        total, done = (self.latest.steps, self.latest.step) if self.latest else (1, 0)
        head.add_row(ProgressBar(total=total, completed=done, width=24), Text(headline))
        return Group(head, table)

    def rows(self) -> dict[str, tuple[str, str, str]]:
        """Task -> its loss in the first adapter that learns it, its loss in an adapter of its own, its share now."""
        rows: dict[str, tuple[str, str, str]] = {}
        now = self.latest.adapters if self.latest else {}
        for name, losses in self._losses.items():
            shares = now[name].shares if name in now else {}
            for task, loss in losses.items():
                if task not in rows:
                    rows[task] = (f"{loss:.3f}", "", f"{shares[task]:.0%}" if task in shares else "")
                elif len(losses) == 1:
                    first, _, share = rows[task]
                    rows[task] = (first, f"{loss:.3f}", share)
        return rows


class Watch:
    """Shows the events of a run on a console; used as `with Watch(console) as watch`.

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

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, StepEvent):
            self._step(event)
            return
        if isinstance(event, PhaseEvent) and event.name in ("evaluate", "load"):
            self._stop()
            if event.name == "load":  # a training begins; a search and a study have many
                self._meter = Meter()
        if line := event_line(event):
            self.say(line)

    def say(self, text: str) -> None:
        """One line above the live picture."""
        # In one piece: a log's reader breaks lines as he likes.
        self._console.print(Text(printable(text)), soft_wrap=True)

    def go_back(self, events: Iterable[Event]) -> None:
        """Forget what was seen but for these events: a resumed run goes back to its last checkpoint."""
        self._meter = Meter()
        for event in events:
            if isinstance(event, StepEvent):
                self._meter.take(event)
        step = self._meter.latest.step if self._meter.latest else 0
        self.say(f"back to step {step}, from where the run goes on")

    def _step(self, event: StepEvent) -> None:
        self._meter.take(event)
        if self._live:
            if not self._live.is_started:
                self._live.start()
            # Drawn a few times a second, however short the steps.
            self._live.update(self._meter.picture(self._meter.headline()))
        elif _is_due(event.step, event.steps):
            self.say(self._meter.line())

    def _stop(self) -> None:
        if self._live and self._live.is_started:
            self._live.stop()
            self.say(self._meter.headline())


@contextmanager
def reading(console: Console, verb: str = "reading ") -> Generator[Callable[[str, int, int], None]]:
    """Within the block, a bar per name that goes with its rows; yields the callback, such as for `prepare_run`."""
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bars:
        bar_of: dict[str, TaskID] = {}

        def tell(name: str, done: int, rows: int) -> None:
            if name not in bar_of:
                bar_of[name] = bars.add_task(f"{verb}{name}", total=None)
            bars.update(bar_of[name], completed=done, total=rows or None)

        yield tell


def event_line(event: Event) -> str:
    """One event in one line; empty for steps and kinds that a reader need not know."""
    match event:
        case PhaseEvent():
            return f"{PHASES.get(event.name, event.name)} …"
        case ValidationEvent():
            return validation_line(event)
        case FrozenEvent():
            return f"step {event.step}: {event.adapter} draws {event.task} no more; it overfits"
        case NoteEvent():
            return f"note: {event.text}"
        case ProgressEvent() if _is_due(event.done, event.of):
            return f"{event.done:,} of {event.of:,} {event.what}"
        case EvaluatedEvent():
            return f"evaluated {event.task} with {event.adapter}: {event.metric} {event.score:.3f}"
        case _:
            return ""


def validation_line(event: ValidationEvent) -> str:
    """One validation in one line: losses, scores in brackets where they were measured, and what it is the best of."""
    shown = [
        f"{task} {values.loss:.3f}" + ("" if values.metric is None else f" (score {values.metric:.3f})")
        for task, values in event.tasks.items()
    ]
    over_all = [criterion for criterion in event.best if not criterion.startswith("task:")]
    best = f"; best {', '.join(over_all)} so far" if over_all and event.step else ""
    return f"step {event.step}: validation of {event.adapter}: {', '.join(shown)}{best}"


def _is_due(step: int, steps: int) -> bool:
    """Whether a tenth of the run was completed by this step."""
    return step == steps or step * LINES // steps > (step - 1) * LINES // steps
