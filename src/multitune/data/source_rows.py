"""The rows that examples were made of, read again from their source with all columns."""

from collections.abc import Sequence

from multitune.core.errors import DataError
from multitune.core.records import Example, Split
from multitune.data.sources import load_rows
from multitune.tasks.identity import row_hash
from multitune.tasks.row_templates import Row
from multitune.tasks.task import Task


def source_rows(task: Task, split: Split, examples: Sequence[Example]) -> list[Row]:
    """The row of each example; of a conversation, that of all its turns.

    A row is known by the hash of all its columns, which its example holds; rows that are alike in all of them are one.

    Args:
        task: whose rows they are.
        split: of the examples; one without a source of its own was carved from train.
        examples: of that split.

    Raises:
        DataError: the source no longer holds such a row, or cannot be read.
    """
    place = f"task {task.name!r}"
    wanted = {example.source[:16] for example in examples}
    tables = load_rows(task.config.data, place)
    found: dict[str, Row] = {}
    for row in tables.get(split, tables["train"]):
        if (key := row_hash(row)) in wanted:
            found.setdefault(key, row)
    gone = next((example.id for example in examples if example.source[:16] not in found), None)
    if gone is not None:
        raise DataError(
            f"{place}: the row of {split} example {gone!r} is no longer in its source. Give the task the rows "
            "that the run was made with"
        )
    return [found[example.source[:16]] for example in examples]
