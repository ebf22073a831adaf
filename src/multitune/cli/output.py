"""Where results go: tables as wide as the terminal, JSON alone on stdout, and no control character from elsewhere."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from multitune.core.text import printable_lines

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.core.results.base import Record

# The libraries below us log for themselves; what matters in it reaches the user in our words.
QUIET = {
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DATASETS_VERBOSITY": "error",
}


def hush() -> None:
    """Before the first import of what it is about; a value that the user set stays."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


class _Stderr(logging.Handler):
    """Writes to what stderr is now: rich puts its own in the place while it shows a live picture."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable_lines(self.format(record)), file=sys.stderr)


def log_to_stderr() -> None:
    """Show the package's log from INFO on, once however often it is called."""
    logger = logging.getLogger("multitune")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)


WIDEST = 10_000  # columns of what is no terminal: no row is ever wider


def open_console(**options: Any) -> "Console":
    """A console of rich on which no text acts: none moves the cursor, sets a title or writes to the clipboard.

    Args:
        options: of rich's Console.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Printing(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for part in super().render(renderable, options):
                # What rich itself does to the cursor is a control, and stays.
                yield part if part.control else Segment(printable_lines(part.text), part.style)

    return Printing(**options)


def results() -> "Console":
    """Where tables go: as wide as the terminal; in a pipe or a file a row is a line, however wide."""
    console = open_console()
    return console if console.is_terminal else open_console(width=WIDEST)


def echo(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print text in which no control character acts."""
    typer.echo(printable_lines(text) + end, err=err, nl=False)


def print_json(value: "Record | Sequence[Record] | object", **more: object) -> None:
    """A result for programs; `more` are fields beside those of a record."""
    from multitune.core.results.base import Record

    if isinstance(value, Record):
        value = {**more, **value.plain()}
    elif isinstance(value, list | tuple):
        value = [one.plain() if isinstance(one, Record) else one for one in value]
    echo_json(value, indent=2)


def echo_json(value: object, indent: int | None = None) -> None:
    """Print JSON; a character that could act on a terminal is written as its number, and so stays in the value."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    typer.echo("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


def write_own_report(path: Path, as_json: bool) -> None:
    """The page of a run that was just finished or changed; a fault in it is a note, never a failure."""
    from multitune.reporting.page import write_report

    try:
        line = f"report: {write_report([path])}"
    except Exception as error:
        line = f"note: all is done, but the report could not be written: {error}"
    echo(line, err=as_json)
