"""What a page is made of: sections of text, facts, tables, charts and answers, as plain values without any HTML."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from multitune.core.results.scores import GAINED, LOST
from multitune.reporting.formatting import DASH, score

Tone = Literal["", "helped", "hurt", "unsure", "quiet"]
TONES: dict[Any, Tone] = {**dict.fromkeys(GAINED, "helped"), **dict.fromkeys(LOST, "hurt"), "cannot tell": "unsure"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """Numbers behind what is shown, for a reader who wants to go on with them."""

    name: str  # of the file that a browser saves
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @property
    def uri(self) -> str:
        """The sheet as CSV in a `data:` address."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.header, *self.rows])
        return "data:text/csv;charset=utf-8," + quote(text.getvalue(), safe=",:;+/=@!$*()?")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what stands there, and what it is sorted by and saved as."""

    text: str
    value: Any = None  # the text itself where absent
    tone: Tone = ""
    strength: float | None = None  # of a heat map's colour, −1 to 1

    @property
    def raw(self) -> Any:
        """What a sheet holds and a sort compares."""
        return self.text if self.value is None else self.value


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title; numbers stand to the right."""

    title: str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, the first of which names its row."""

    name: str  # in addresses and file names
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    heat: bool = False  # cells are coloured by their strength
    sortable: bool = False  # with a box to filter its rows, too
    full: Sheet | None = None  # where there is more to save than to show
    kind: Literal["table"] = "table"

    @property
    def sheet(self) -> Sheet:
        """The table's own values, or more."""
        return self.full or Sheet(
            self.name, [c.title for c in self.columns], [[cell.raw for cell in row] for row in self.rows]
        )


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG picture, what is seen on it in words, and its numbers."""

    title: str
    svg: str  # trusted: made by reporting.charts
    label: str
    sheet: Sheet
    narrow: str = ""  # the same for a phone, where it is another one


@dataclass(frozen=True, slots=True)
class Charts:
    """Pictures of one kind, side by side as the page is wide."""

    charts: Sequence[Chart]
    kind: Literal["charts"] = "charts"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, or preformatted text behind a title to open."""

    text: str
    title: str = ""
    tone: Tone = ""
    kind: Literal["text", "code"] = "text"


@dataclass(frozen=True, slots=True)
class Facts:
    """Terms and what there is to say about each."""

    items: Sequence[tuple[str, str]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True)
class Lines:
    """Sentences that need not be read in order."""

    title: str
    lines: Sequence[str]
    kind: Literal["lines"] = "lines"


@dataclass(frozen=True, slots=True)
class Answer:
    """One subject's answer to an example."""

    subject: str
    output: str
    mark: str  # `✓ right`, `✗ not right`, or a score in between
    tone: Tone


@dataclass(frozen=True, slots=True)
class Shown:
    """One example with the answers of all subjects; `prompt` is empty where the run did not keep it."""

    task: str
    id: str
    outcome: str
    prompt: str
    gold: str
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Answers:
    """Examples to look through, by task and by outcome."""

    tasks: Sequence[str]
    outcomes: Sequence[str]
    examples: Sequence[Shown]
    kind: Literal["answers"] = "answers"


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks behind a title to open, for what few readers need."""

    title: str
    blocks: "Sequence[Block]"
    kind: Literal["folded"] = "folded"


Block = Table | Charts | Text | Facts | Lines | Answers | Folded


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A question on top of a page, answered by one figure and a line."""

    question: str
    value: str  # empty where the line says it all
    line: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One subject's score on a task."""

    subject: str
    text: str
    share: float  # of the longest possible bar, 0 to 1
    main: bool = False


@dataclass(frozen=True, slots=True)
class TaskBars:
    """One task on top of a page: its scores as bars, what they come to, and what it ships with."""

    task: str
    about: str  # metric and rows
    bars: Sequence[Bar]
    difference: str
    verdict: str
    tone: Tone
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page under a heading of its own."""

    id: str
    title: str
    lead: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Part:
    """One run or study on a page."""

    id: str
    kind: Literal["run", "study", "comparison"]
    name: str
    verdict: str
    figures: Sequence[KeyFigure]
    sections: Sequence[Section]
    missing: Sequence[str]
    about: str = ""  # one line: base, tasks, when
    ships: str = ""  # one sentence
    bars: Sequence[TaskBars] = ()


def number(
    value: float | None, shown: Callable[..., str] = score, *digits: int, strength: float | None = None
) -> Cell:
    """A cell for a number, to so many digits; a dash where it was not measured."""
    if value is None:
        return Cell(DASH, value=DASH, strength=strength)
    return Cell(shown(value, *digits), value=value, strength=strength)


def header(*titles: str | Sequence[str]) -> list[Column]:
    """Columns of text; those in a list hold numbers."""
    columns: list[Column] = []
    for title in titles:
        columns += [Column(title)] if isinstance(title, str) else [Column(one, number=True) for one in title]
    return columns
