"""Writes docs/commands.md, a section per verb of the command line, from the code of the verbs: make commands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import Context
from typer.main import get_command

from multitune.cli.main import app
from multitune.cli.next_steps import PURPOSES, STEPS

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
HEAD = """# Commands

Every verb, in the order of a first run. Generated from the code by `make commands`; `multitune VERB --help` says the
same in a terminal. Exit codes: 0 done, 1 a fault of multitune or a verdict (`gate`, `audit --strict`, `verify`), 2 a
fault in what was given, 3 cannot tell (`gate`), 130 stopped by Ctrl-C.
"""
ORDER = [verb for verbs in PURPOSES.values() for verb in verbs]
TAKES_FILE = re.compile(r"multitune (?:check|audit|train) ")
MORE = {  # verb -> the page that goes on
    "audit": "audit.md",
    "gate": "gate.md",
    "measure": "robustness.md",
    "import": "other-tools.md",
    "compare-predictions": "other-tools.md",
    "serve": "learning-from-use.md",
    "train": "many-processes.md",
}


def verbs() -> Iterator[tuple[str, Any]]:
    """(words to type behind `multitune`, command) of every verb, those of a group one by one."""
    commands: dict[str, Any] = dict(get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]
    for name in sorted(commands, key=ORDER.index):
        parts: dict[str, Any] = getattr(commands[name], "commands", {})
        if not parts:
            yield name, commands[name]
        yield from ((f"{name} {part}", command) for part, command in parts.items())


def section(name: str, command: Any) -> str:
    """A verb: what it does, how it is called, what it takes, and where to go from there."""
    context = Context(command, info_name=f"multitune {name}")
    asked = [_plain(piece) for piece in command.collect_usage_pieces(context)]
    records = [one.get_help_record(context) for one in command.params]
    rows = [f"| `{_plain(what)}` | {_plain(about)} |\n" for what, about in filter(None, records)]
    table = f"\n| | |\n|---|---|\n{''.join(rows)}" if rows else ""
    after = [f"Next: {_next(STEPS[name])}."] if name in STEPS else []
    after += [f"More: [{MORE[name]}]({MORE[name]})."] if name in MORE else []
    usage = " ".join(["multitune", name, *asked])
    end = f"\n{' '.join(after)}\n" if after else ""
    return f"## {name}\n\n{_flowing(command.help)}\n\n```\n{usage}\n```\n{table}{end}"


def _next(step: str) -> str:
    """The last line that a verb prints, with what it takes in capitals."""
    shown = step.format("FILE" if TAKES_FILE.match(step) else "RUN")
    return re.sub(r"(multitune [^,;]+)", r"`\1`", shown)


def _plain(text: str) -> str:
    """A line of the help in Markdown: no marks of the parser, cells that hold a bar, names of types left out."""
    bare = re.sub(r" <(?:str|path|bool|float|int|list\[\w+\])(?: range)?>", "", text)
    return re.sub(r"(?<=…)}\.{3}|[{}]", "", _flowing(bare)).replace("|", "\\|")


def _flowing(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def written() -> str:
    """docs/commands.md as it should be."""
    found = list(verbs())
    listed = ", ".join(f"[{name}](#{name.replace(' ', '-')})" for name, _ in found)
    return "\n".join([HEAD, f"{listed}\n", *(section(name, command) for name, command in found)])


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
