"""Where results go: tables as wide as the terminal, JSON alone on stdout, and libraries that keep quiet."""

import json
import os
from typing import Any

import typer
from rich.console import Console

# The libraries below us speak of themselves; what matters in it reaches the user in our words.
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


def results() -> Console:
    """Where tables go: as wide as the terminal, and 100 columns in a log."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 100))


def print_json(value: Any) -> None:
    """A result for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
