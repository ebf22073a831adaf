"""The data of a set as `check` shows it: labels, an example as the model reads it, lengths, and surprises."""

from multitune.core.records import Split
from multitune.core.results.base import Record


class LabelCount(Record):
    """A label, and its rows in each split."""

    label: str
    rows: dict[Split, int]


class Piece(Record):
    """Tokens that belong together, as text."""

    text: str
    control: bool = False  # control tokens of the base
    loss: bool = False  # whether they carry loss


class ShownRow(Record):
    """One training row exactly as the model reads it."""

    id: str
    tokens: int
    pieces: tuple[Piece, ...]


class LengthBin(Record):
    """Training rows with at most so many tokens, and more than the bin before."""

    up_to: int
    rows: int


class PromptCount(Record):
    """One of the prompts that training rows are asked by, and how many are."""

    prompt: str  # as the run file writes it
    rows: int


class DataSummary(Record):
    """What the rows of one set look like."""

    name: str
    labels: tuple[LabelCount, ...] = ()
    example: ShownRow | None = None  # of middle length
    shortest: ShownRow | None = None
    longest: ShownRow | None = None
    lengths: tuple[LengthBin, ...] = ()
    prompts: tuple[PromptCount, ...] = ()  # of a task with prompt variants, its own prompt first
    duplicates: int = 0  # training rows whose prompt and answer stand in an earlier one
    warnings: tuple[str, ...] = ()
