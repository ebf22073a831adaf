"""`multitune init`: the run file that was proposed for some data files, with the reason of every choice."""

from multitune.core.results.base import Record


class Choice(Record):
    """One thing that was decided without asking, and why."""

    of: str  # the task; empty where it is about the whole run
    field: str
    value: str
    because: str


class Proposal(Record):
    """What was written, and what its reader must know."""

    file: str
    tasks: tuple[str, ...]
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]
    install: str = ""  # the command that installs the base, where it is missing
