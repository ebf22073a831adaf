"""One task as it is measured further: its rows with all columns, their answers, and the models that gave them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multitune.core.records import Example, Prediction
from multitune.data.source_rows import source_rows
from multitune.data.task_input import TaskInput
from multitune.evaluation.changed_rows import ChangedRow
from multitune.evaluation.groups import Answers
from multitune.inference.language_model import LanguageModel
from multitune.inference.predict import chosen_rows, predict_examples, rows_at
from multitune.tasks.row_templates import Row
from multitune.tasks.task import Task
from multitune.training.prepare import PreparedRun


@dataclass(frozen=True, slots=True)
class TaskRows:
    """The evaluated rows of a task."""

    item: TaskInput
    examples: Sequence[Example]
    rows: Sequence[Row]  # of each example

    @property
    def task(self) -> Task:
        """The task itself."""
        return self.item.data.task


@dataclass(frozen=True, slots=True)
class Probe:
    """A task's rows, their answers, and the models that gave them."""

    of: TaskRows
    answers: Answers  # in the order of the rows; the first training is the one that ships
    models: Mapping[str, LanguageModel]  # by name; empty where none has to answer more

    def readable(self, changed: Sequence[ChangedRow]) -> list[ChangedRow]:
        """Those that are no longer than the base was made for."""
        fits = self.models[self.answers.adapter].are_readable([one.example for one in changed])
        return [one for one, fit in zip(changed, fits, strict=True) if fit]

    def answer(self, subject: str, changed: Sequence[ChangedRow]) -> list[Prediction]:
        """What a subject answers to changed rows."""
        return predict_examples(self.models[subject], self.of.item, [one.example for one in changed])


def task_rows(prepared: PreparedRun) -> dict[str, TaskRows]:
    """The evaluated rows of every task.

    Raises:
        DataError: the source of a task no longer holds them.
    """
    config, split = prepared.config, prepared.config.evaluate.split
    found: dict[str, TaskRows] = {}
    for name, item in prepared.tasks.items():
        if not item.general:
            examples = rows_at(item, split, chosen_rows(item, split, seed=config.seed, limit=config.evaluate.limit))
            found[name] = TaskRows(item, examples, source_rows(item.data.task, split, examples))
    return found
