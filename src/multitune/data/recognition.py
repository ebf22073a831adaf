"""What a run file leaves open of how rows read, filled in by the columns of the first rows, and said in one line."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from pydantic import ValidationError

from multitune.config.task import READING, TaskConfig
from multitune.core.errors import DataError
from multitune.data.shapes import Sample, Shape, choices, conversations, instructions, pairs
from multitune.data.sources import Table
from multitune.data.table_shapes import alone, labelled, labelled_by_sets, scored, tagged
from multitune.tasks.conversation import is_conversation
from multitune.tasks.metrics import metric_for
from multitune.tasks.row_templates import RowTemplates

FIRST_ROWS = 200
SHAPES: tuple[Callable[[Sample], Iterator[Shape]], ...] = (
    conversations,
    instructions,
    pairs,
    choices,
    labelled,
    labelled_by_sets,
    scored,
    tagged,
)
READ_AS_TEXT = ("classify", "generate", "number", "regress")  # kinds that any answer in words may be
SHOWN = 100  # characters of a template in a note
MOST_COLUMNS = 20  # that a message lists


def recognise(config: TaskConfig, table: Table) -> tuple[TaskConfig, list[str]]:
    """A task with kind, prompt and answer, as its file states them or else as its columns say; and what was guessed.

    What the file states stays. Only the first rows are looked at.

    Args:
        config: of the task.
        table: its training rows.

    Raises:
        DataError: the columns have no known shape, or several.
    """
    if config.is_complete:
        return config, _parts_of_turns(config, table)
    sample = Sample(list(islice(table, FIRST_ROWS)), table.class_names())
    found = shapes_of(sample)
    fitting = [shape for shape in found if _fits(shape, config)]
    if len(fitting) != 1:
        raise DataError(_refusal(sample, fitting or found, config, table.place))
    (shape,) = fitting
    stated = {name for name in READING if name in config.model_fields_set and getattr(config, name)}
    guessed = {name: value for name, value in {"kind": shape.kind, **shape.fields}.items() if name not in stated}
    try:
        whole = TaskConfig.model_validate({**config.model_dump(), **guessed})
    except ValidationError as error:
        raise DataError(
            f"{table.place}: its rows are {shape.name}, to which what the run file states does not fit "
            f"({error.errors()[0]['msg'].removeprefix('Value error, ')})"
        ) from error
    if not whole.is_complete:
        raise DataError(
            f"{table.place}: its rows are {shape.name}, which leaves open what the run file does not state of kind, "
            "prompt and answer. State all three"
        )
    return whole, [_summary(whole, shape, sample)]


def shapes_of(sample: Sample) -> list[Shape]:
    """The shapes that rows have: one that reads all columns of another and more stands for both."""
    found = [shape for finder in SHAPES for shape in finder(sample)]
    found = [one for one in found if not any(one.columns < other.columns for other in found)]
    return found or list(alone(sample))


def _fits(shape: Shape, config: TaskConfig) -> bool:
    """Whether a shape can be what the run file means."""
    if config.messages:
        return False
    if config.kind is None or config.kind == shape.kind:
        return True
    return config.kind in READ_AS_TEXT and shape.kind in READ_AS_TEXT


def _summary(config: TaskConfig, shape: Shape, sample: Sample) -> str:
    """One line on how rows are read."""
    fields: dict[str, Any] = {"kind": config.kind}
    fields |= {name: getattr(config, name) for name in ("messages", "prompt", "answer", "options", "tools")}
    if config.messages:
        fields["turns"] = config.turns
    fields["labels"] = ", ".join(config.labels or ())
    fields["metric"] = metric_for(config).name
    listed = "; ".join(f"{name}: {_short(str(value))}" for name, value in fields.items() if value)
    unread = [name for name in sample.columns if name not in shape.columns]
    rest = f"; not read: {', '.join(unread[:MOST_COLUMNS])}" if unread else ""
    return f"recognised as {shape.name}; {listed}{rest}"


def _short(text: str) -> str:
    line = text.replace("\n", "⏎")
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def _refusal(sample: Sample, found: list[Shape], config: TaskConfig, place: str) -> str:
    """Why rows cannot be recognised, and what to write."""
    columns = ", ".join(sample.columns[:MOST_COLUMNS])
    more = ", …" if len(sample.columns) > MOST_COLUMNS else ""
    write = 'Write kind, prompt and answer, such as `prompt: "{{ COLUMN }}"`, or `messages: COLUMN` for conversations'
    if {"chosen", "rejected"} <= set(sample.columns):
        return (
            f"{place}: its rows are preference pairs (chosen, rejected), which multitune does not train on. Take "
            'DPOTrainer of TRL for these, or learn the better answers alone: kind, prompt and `answer: "{{ chosen }}"`'
        )
    if len(found) > 1:
        names = "; or ".join(f"{shape.name} ({', '.join(sorted(shape.columns))})" for shape in found)
        return f"{place}: its columns ({columns}{more}) can be read in several ways: {names}. {write}"
    if found:
        return (
            f"{place}: its columns ({columns}{more}) are {found[0].name}, of kind {found[0].kind}, and the run file "
            f"says kind {config.kind}. {write}"
        )
    return f"{place}: its columns ({columns}{more}) have no shape that is recognised. {write}"


def _parts_of_turns(config: TaskConfig, table: Table) -> list[str]:
    """Whether a stated prompt picks single turns out of a conversation, which has more."""
    if config.messages or not re.search(r"\b(messages|conversations?)\b", config.prompt):
        return []
    read = RowTemplates(config).shows[0]
    for row in islice(table, FIRST_ROWS):
        name = next((name for name in read if is_conversation(row.get(name)) and len(row[name]) > 2), None)
        if name:
            return [
                f"the prompt is written out of the turns in {name}. `messages: {name}` in place of prompt and answer "
                "reads all turns in the base's own chat format, system texts included"
            ]
    return []
