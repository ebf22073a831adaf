"""How the rows of one set read: by the names of its columns, else by what they hold, else as their owner says."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from statistics import fmean
from typing import Any

from multitune.config.task import READING, Kind, TaskConfig
from multitune.core.errors import DataError, suggest
from multitune.data.recognition import FIRST_ROWS, recognise
from multitune.data.shapes import ABOUT, LONGEST_LABEL, Sample, is_text
from multitune.data.sources import Table
from multitune.data.table_shapes import classify_fields, rate_fields
from multitune.tasks.expressions import shown

# Columns that name what several rows come from, such as the document of a sentence.
OWNERS = ("document", "doc", "conversation", "thread", "dialogue", "patient", "case", "customer", "user", "author")
MOST_LABELS = 200  # of a column that is guessed to hold labels


@dataclass(frozen=True, slots=True)
class Question:
    """What only the owner of the rows knows."""

    of: str  # the set
    asks: str
    options: Sequence[str]  # columns, the likeliest first
    option: str  # of the command line that answers it


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns that were named by hand, by set."""

    text: Mapping[str, str]
    answer: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows read, as a whole task, and why."""

    config: TaskConfig
    because: str
    unread: Sequence[str] = ()  # columns of texts that the prompt leaves out


Ask = Callable[[Question], str | None]  # None: nobody is there to ask


def read_columns(config: TaskConfig, table: Table, columns: Columns, ask: Ask) -> Reading:
    """A task that says how its rows read.

    Args:
        config: with its name and its data.
        table: the training rows.
        columns: named by hand; what is named here is not guessed.
        ask: for what neither names nor values show.

    Raises:
        DataError: nobody answered, or rows cannot be read.
    """
    sample = Sample(list(islice(table, FIRST_ROWS)), table.class_names())
    name = config.name
    text, answer = (_named(given.get(name), option, sample, name) for given, option in _options(columns))
    refusal = None
    if not text and not answer:
        try:
            whole, notes = recognise(config, table)
            answer = _number_column(whole, sample)
            if not answer:
                return Reading(whole, notes[0].partition(";")[0])
        except DataError as error:
            refusal = error
    texts = _texts(sample)
    if not answer:
        read = text or (texts[0] if texts else None)
        found = _answers(sample, read)
        answer = found[0] if len(found) == 1 else None
        if not answer:
            asked = Question(name, "Which column holds the answer?", found or _rest(sample, read), "--answer")
            answer = _answered(asked, ask, sample, refusal)
    texts = [one for one in texts if one != answer]
    text = text or (texts[0] if texts else None)
    if not text:
        question = Question(name, "Which column holds the text to read?", _rest(sample, answer), "--text")
        text = _answered(question, ask, sample, refusal)
    kind, why = _kind(sample, answer)
    fields = _fields(kind, text, answer, sample)
    given = {key: value for key, value in config.model_dump().items() if key not in READING}
    unread = [one for one in _texts(sample) if one not in (text, answer)]
    by = "as you named them" if columns.text.get(name) or columns.answer.get(name) else "by their values"
    because = f"reads {text}, answers {answer} ({by}): {why}"
    return Reading(TaskConfig.model_validate({**given, "kind": kind, **fields}), because, unread)


def _number_column(whole: TaskConfig, sample: Sample) -> str | None:
    """The column of the answer where rows were recognised as free text, but every answer is a number."""
    column = (whole.answer or "").removeprefix("{{ ").removesuffix(" }}")
    free = whole.known_kind == "generate" and column in sample.columns
    return column if free and all(_is_number(str(value)) for value in sample.values(column)) else None


def group_column(table: Table) -> tuple[str, str] | None:
    """The column of a set that says which rows belong together, and why; None where there is none."""
    sample = Sample(list(islice(table, FIRST_ROWS)))
    for name in sample.columns:
        bare = name.lower().removesuffix("_id").removesuffix("id").rstrip("_")
        values = sample.values(name)
        different = len(set(map(str, values)))
        if bare in OWNERS and name.lower() != bare and len(values) == len(sample.rows) and 1 < different < len(values):
            return name, f"rows of one {bare} stay in one split: {different} in the first {len(values)} rows"
    return None


def _options(columns: Columns) -> list[tuple[Mapping[str, str], str]]:
    return [(columns.text, "--text"), (columns.answer, "--answer")]


def _named(column: str | None, option: str, sample: Sample, name: str) -> str | None:
    if column is not None and column not in sample.columns:
        raise DataError(f"{option} {name}={column}: no such column. {suggest(column, sample.columns)}")
    return column


def _answered(question: Question, ask: Ask, sample: Sample, refusal: DataError | None) -> str:
    if sample.columns and question.options and (answer := ask(question)):
        return answer
    if not question.options and refusal:
        raise refusal
    listed = ", ".join(question.options) or "none, as all are alike or number the rows"
    raise DataError(
        f"task {question.of!r}: {question.asks} Give {question.option} {question.of}=COLUMN, one of: {listed}"
    )


def _rest(sample: Sample, taken: str | None) -> list[str]:
    return [name for name in sample.columns if name != taken]


def _texts(sample: Sample) -> list[str]:
    """Columns of texts that differ from row to row, the longest first."""
    named = [name for name in sample.columns if name.lower() not in ABOUT - {"title"} and sample.holds(name, is_text)]
    found = [name for name in named if any(map(_holds_words, sample.values(name)))]
    found = [name for name in found if 2 * _different(sample, name) > len(sample.values(name)) or len(found) == 1]
    return sorted(found, key=lambda name: -fmean(len(value) for value in sample.values(name)))


def _answers(sample: Sample, read: str | None) -> list[str]:
    """Columns that may hold the answer: those of few short values, else numbers and texts."""
    found = [
        name
        for name in sample.columns
        if name != read
        and name.lower() not in ABOUT
        and not name.endswith(("_id", "Id", "ID"))
        and sample.holds(name, lambda cell: isinstance(cell, str | int | float))
        and _different(sample, name) > 1
        and not _counts_rows(sample, name)
    ]
    return [name for name in found if _kind(sample, name)[0] == "classify"] or found


def _counts_rows(sample: Sample, name: str) -> bool:
    """Whether a column numbers the rows."""
    values = [str(value) for value in sample.values(name)]
    numbers = [int(value) for value in values if value.isdecimal()]
    return len(numbers) == len(values) and all(b > a for a, b in pairwise(numbers))


def _different(sample: Sample, name: str) -> int:
    return len(set(map(str, sample.values(name))))


def _kind(sample: Sample, answer: str) -> tuple[Kind, str]:
    """The kind of task that an answer of such values makes, and why."""
    values = [str(value) for value in sample.values(answer)]
    different, longest = len(set(values)), max(map(len, values))
    named = bool(sample.classes.get(answer))
    if not named and all(map(_is_number, values)) and not all(value.lstrip("-").isdecimal() for value in values):
        if 2 * different > len(values) and all(float(value).is_integer() for value in values):
            return "number", "the answer is a whole number, seldom the same"
        return "regress", "the answer is a number that may lie between others"
    if longest <= LONGEST_LABEL and different <= MOST_LABELS and 2 * different <= len(values):
        return "classify", f"{different} different short answers in the first {len(values)} rows"
    if all(map(_is_number, values)):
        return "number", "the answer is a whole number, seldom the same"
    return "generate", f"{different} different answers in the first {len(values)} rows, up to {longest} characters"


def _holds_words(text: str) -> bool:
    """Whether there is a letter, as in no number, date or phone number; T and Z stand in dates of ISO 8601."""
    return any(char.isalpha() for char in text if char not in "TZ")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d+(\.\d+)?", text) is not None


def _fields(kind: Kind, text: str, answer: str, sample: Sample) -> dict[str, Any]:
    if kind == "classify":
        return classify_fields(text, answer, sample.classes.get(answer, ()))
    if kind == "regress":
        return rate_fields(text, answer)
    if kind == "number":
        whole = all(str(value).lstrip("-").isdecimal() for value in sample.values(answer))  # and not 48.0
        number = shown(answer) if whole else shown(answer).replace(" }}", " | int }}")
        return {"prompt": f"Answer with one number.\n\n{shown(text)}", "answer": number}
    return {"prompt": shown(text), "answer": shown(answer)}
