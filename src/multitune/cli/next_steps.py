"""The guided path: what comes after each command, as the last line that it prints."""

import shlex
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path

from multitune.cli.output import echo

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
# What the verbs are for, and the verbs in the order of a first run.
PURPOSES: Mapping[str, tuple[str, ...]] = {
    "Set up": ("init", "import", "check", "audit"),
    "Train": ("train", "watch", "study", "tune"),
    "Judge": ("report", "eval", "measure", "compare", "compare-predictions", "gate", "runs"),
    "Ship": ("select", "add", "remove", "generate", "serve", "export", "verify"),
    "Else": ("schema", "version"),
}
USE = "multitune serve {0}, or multitune export {0} --adapter NAME --to FOLDER"
# command -> what to do next; {0} and so on stand for the files and folders that the next command takes
STEPS: Mapping[str, str] = {
    "init": "multitune check {0}",
    "import": "multitune check {0}",
    "check": "multitune audit {0}",
    "audit": "multitune train {0}",
    "audit with findings": "multitune audit {0} --fix DIR, which writes cleaned copies; or multitune train {0} as is",
    "audit --strict": "multitune audit {0} --fix DIR, which writes cleaned copies",
    "audit --fix": "multitune audit {0}, the cleaned copies",
    "train": f"read {{0}}/report.html; then {USE}",
    "eval": f"read {{0}}/report.html; then {USE}",
    "measure": f"read {{0}}/report.html; then {USE}",
    "report": USE,
    "select": USE,
    "add": USE,
    "remove": USE,
    "study": "multitune train {0}",
}


def say_next(after: str, *places: Path | str, first: str = "", quiet: bool = False) -> None:
    """The last line of a command; nothing under --json or --quiet.

    Args:
        after: the command that is done.
        places: the run file, folders and names that the next command takes.
        first: a command that has to come before it.
        quiet: the command's output is for a program.
    """
    if not (quiet or _quiet.get()):
        command = STEPS[after].format(*(shlex.quote(str(place)) for place in places))
        echo(f"next: {first}; then {command}" if first else f"next: {command}")


def be_quiet(wanted: bool) -> None:
    """Whether `multitune --quiet` was given, for the command that follows."""
    _quiet.set(wanted)
