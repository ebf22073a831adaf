"""Test rows with some of their texts changed, asked in the task's own words, their right answers as they were."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from multitune.config.task import Kind
from multitune.core.errors import TaskError
from multitune.core.records import Example
from multitune.tasks.row_templates import Row
from multitune.tasks.task import Task

# Kinds whose answers copy nothing from the text.
PICKED: frozenset[Kind] = frozenset({"classify", "choice", "labels", "number", "regress"})
LEAST_ROWS = 20  # that a change must leave to be measured
Texts = Mapping[str, str]  # column -> its text
Change = Callable[[Example, Texts], Texts]  # the texts of a row that the prompt shows -> those that differ


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row as it is asked after a change."""

    place: int  # among the rows that were given
    example: Example  # with the id and the right answer of the row


def why_unchangeable(task: Task) -> str:
    """Why no row of a task can be changed; empty where rows can."""
    if task.kind == "text":
        return "a plain text is asked nothing"
    return "its rows are conversations" if task.config.messages else ""


def changed_rows(task: Task, examples: Sequence[Example], rows: Sequence[Row], change: Change) -> list[ChangedRow]:
    """The rows that a change makes others of.

    A column stays as it is where its change would move the right answer or the options, as where an answer is copied
    from the text. A row that reads as before is left out.

    Args:
        task: whose rows they are.
        examples: as they were asked.
        rows: each example's row, with all columns.
        change: of the texts that the prompt shows.
    """
    found: list[ChangedRow] = []
    for place, (example, row) in enumerate(zip(examples, rows, strict=True)):
        texts = shown_texts(task, row)
        new = {column: text for column, text in change(example, texts).items() if text != texts[column]}
        asked = _asked(task, example, row, new) or _one_by_one(task, example, row, new)
        if asked and (asked.prompt, asked.chat) != (example.prompt, example.chat):
            found.append(ChangedRow(place, asked))
    return found


def shown_texts(task: Task, row: Row) -> dict[str, str]:
    """The texts of a row that the prompt may show, by column."""
    shown, fixed = task.shows[0], {task.config.id, task.config.group}
    return {
        column: value
        for column, value in row.items()
        if isinstance(value, str) and column not in fixed and (column in shown or "row" in shown)
    }


def _one_by_one(task: Task, example: Example, row: Row, new: Texts) -> Example | None:
    kept: dict[str, str] = {}
    asked: Example | None = None
    for column, text in new.items() if len(new) > 1 else ():
        if one := _asked(task, example, row, {**kept, column: text}):
            asked, kept = one, {**kept, column: text}
    return asked


def _asked(task: Task, example: Example, row: Row, new: Texts) -> Example | None:
    """The example with some texts changed; None where its right answer or its options would be others."""
    changed = {**row, **new}
    try:
        (made,), (question,) = task.examples([changed]), task.questions([changed])
    except TaskError:  # such as a label that no row has
        return None
    if (made.gold, made.options) != (example.gold, example.options):
        return None
    return replace(example, prompt=question.prompt, chat=question.chat)
