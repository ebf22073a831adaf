"""A run watched from another process: in the terminal, once or until it ends, and in the browser."""

import time
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from multitune.cli.show import say, show_scores
from multitune.cli.watch import Meter, Watch, event_line
from multitune.core.errors import RunFolderError
from multitune.core.run_folder import RunFolder
from multitune.reporting.event_log import Diary, Entry, Follower
from multitune.reporting.forms import plain, read_scores
from multitune.reporting.runs import State, state_of

PAUSE = 0.25  # seconds between looks at the run folder
TOLD = {
    "running": "the run is under way",
    "stopped": "no process trains this run; waiting for `multitune train FILE --resume` (Ctrl-C leaves)",
    "damaged": "the run folder is gone or has no run file; waiting for it (Ctrl-C leaves)",
}


def watch_run(path: Path, console: Console, once: bool = False) -> None:
    """Show a run as it goes until it has ended: nobody holds its diary and its scores are there; or as it is now.

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
    seen: list[dict[str, Any]] = []
    told: State | None = None
    with Watch(console) as watch:
        while not (news := follower.news()).is_last:
            for entry in news.entries:
                _take(entry, seen, watch)
            if news.state != told and news.state in TOLD and (told or news.state != "running"):
                watch.say(TOLD[news.state])
            told = news.state
            if not news.entries:
                time.sleep(PAUSE)


def _take(entry: Entry, seen: list[dict[str, Any]], watch: Watch) -> None:
    if entry.number < len(seen):
        del seen[entry.number :]
        watch.go_back(seen)
    event = printable(entry.event)
    seen.append(event)
    watch(event)


def show_state(folder: RunFolder, console: Console) -> None:
    """The state of a run at this moment, the last validation of each adapter, and what stands in its way."""
    state, events = state_of(folder), [printable(entry.event) for entry in Diary(folder.events).news()]
    meter = Meter()
    told: dict[str, str] = {}  # what the last line about it is about -> the line
    for event in events:
        if event["kind"] == "step":
            meter.take(event)
        elif line := event_line(event):
            told[f"{event['kind']} {event.get('adapter', '')} {event.get('task', event.get('text', ''))}"] = line
    say(console, f"{plain(folder.path.resolve().name)}: {state}", "bold")
    if meter.latest:
        console.print(meter.picture(meter.headline() if state == "running" else meter.place()))
    for line in told.values():
        console.print(Text(line), soft_wrap=True)
    if state == "finished":
        _show_end(folder, console)


def _show_end(folder: RunFolder, console: Console) -> None:
    try:
        show_scores(read_scores(folder), folder.path, console)
    except RunFolderError as error:
        say(console, f"ended, but {error}", "yellow")


def printable(value: Any) -> Any:
    """An event whose texts, keys included, hold no control characters: a diary may come from anywhere."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): printable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [printable(part) for part in value]
    return value


def serve_report(path: Path, host: str, port: int) -> None:
    """Show a run in the browser until Ctrl-C.

    Raises:
        InputError: not a run folder, an extra is missing, or the port cannot be had.
    """
    from multitune.reporting.live import serve

    def opened(url: str) -> None:
        typer.echo(f"{path} at {url} (Ctrl-C ends)")

    serve(path, host, port, opened)
