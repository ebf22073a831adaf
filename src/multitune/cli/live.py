"""A run watched from another process: in the terminal, once or until it ends, and in the browser."""

import time
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from multitune.cli.output import echo
from multitune.cli.show import say, show_scores
from multitune.cli.watch import Meter, Watch, event_line
from multitune.core.errors import RunFolderError
from multitune.core.results.events import (
    EvaluatedEvent,
    Event,
    FrozenEvent,
    NoteEvent,
    StepEvent,
    ValidationEvent,
)
from multitune.core.results.run import State
from multitune.core.run_folder import RunFolder
from multitune.core.text import printable
from multitune.reporting.event_log import Entry, Follower, LogReader
from multitune.reporting.run_scores import read_run_scores
from multitune.reporting.run_state import state_of

PAUSE = 0.25  # seconds between looks at the run folder
STATES = {
    "running": "the run is under way",
    "stopped": "no process trains this run; waiting for `multitune train FILE --resume` (Ctrl-C leaves)",
    "damaged": "the run folder is gone or has no run file; waiting for it (Ctrl-C leaves)",
}


def watch_run(path: Path, console: Console, once: bool = False) -> None:
    """Show a run as it goes until it has ended: nobody holds it and its scores are there; or as it is now.

    Raises:
        RunFolderError: not a run folder.
        typer.Exit: with code 130 on Ctrl-C.
    """
    folder = RunFolder(path).require()
    if once:
        show_state(folder, console)
        return
    try:
        _follow(folder, console)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _show_end(folder, console)


def _follow(folder: RunFolder, console: Console) -> None:
    follower = Follower(folder)
    seen: list[Event] = []
    shown: State | None = None
    with Watch(console) as watch:
        while not (news := follower.news()).is_last:
            for entry in news.entries:
                _take(entry, seen, watch)
            if news.state != shown and news.state in STATES and (shown or news.state != "running"):
                watch.say(STATES[news.state])
            shown = news.state
            if not news.entries:
                time.sleep(PAUSE)


def _take(entry: Entry, seen: list[Event], watch: Watch) -> None:
    if entry.number < len(seen):
        del seen[entry.number :]
        watch.go_back(seen)
    seen.append(entry.event)
    watch(entry.event)


def show_state(folder: RunFolder, console: Console) -> None:
    """The state of a run at this moment, the last validation of each adapter, and what stands in its way."""
    state, events = state_of(folder), [entry.event for entry in LogReader(folder.events).news()]
    meter = Meter()
    last: dict[str, str] = {}  # what a line is about -> the last line about it
    for event in events:
        if isinstance(event, StepEvent):
            meter.take(event)
        elif line := event_line(event):
            last[_about(event)] = line
    say(console, f"{printable(folder.path.resolve().name)}: {state}", "bold")
    if meter.latest:
        console.print(meter.picture(meter.headline() if state == "running" else meter.place()))
    for line in last.values():
        console.print(Text(printable(line)), soft_wrap=True)
    if state == "finished":
        _show_end(folder, console)


def _about(event: Event) -> str:
    """What an event is about: a later one about the same replaces it."""
    match event:
        case ValidationEvent():
            return f"validation {event.adapter}"
        case EvaluatedEvent() | FrozenEvent():
            return f"{event.kind} {event.adapter} {event.task}"
        case NoteEvent():
            return f"note {event.text}"
        case _:
            return event.kind


def _show_end(folder: RunFolder, console: Console) -> None:
    try:
        show_scores(read_run_scores(folder), folder.path, console)
    except RunFolderError as error:
        say(console, f"ended, but {error}", "yellow")


def serve_report(path: Path, host: str, port: int) -> None:
    """Show a run in the browser until Ctrl-C.

    Raises:
        InputError: not a run folder, an extra is missing, or the port cannot be had.
    """
    from multitune.reporting.live import serve

    def opened(url: str) -> None:
        echo(f"{path} at {url} (Ctrl-C ends)")

    serve(path, host, port, opened)
