"""Where results go: tables as wide as the terminal, JSON alone on stdout, and libraries that keep quiet."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

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
        print(self.format(record), file=sys.stderr)


def log_to_stderr() -> None:
    """Show the package's log from INFO on, once however often it is called."""
    logger = logging.getLogger("multitune")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)


WIDEST = 10_000  # columns of what is no terminal: no row is ever wider


def results() -> "Console":
    """Where tables go: as wide as the terminal; in a pipe or a file a row is a line, however wide."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=WIDEST)


def print_json(value: "Record | Sequence[Record] | object", **more: object) -> None:
    """A result for programs; `more` are fields beside those of a record."""
    from multitune.core.results.base import Record

    if isinstance(value, Record):
        value = {**more, **value.plain()}
    elif isinstance(value, list | tuple):
        value = [one.plain() if isinstance(one, Record) else one for one in value]
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def write_own_report(path: Path, as_json: bool) -> None:
    """The page of a run that was just finished or changed; a fault in it is a note, never a failure."""
    from multitune.reporting.page import write_report

    try:
        line = f"report: {write_report([path])}"
    except Exception as error:
        line = f"note: all is done, but the report could not be written: {error}"
    typer.echo(line, err=as_json)
