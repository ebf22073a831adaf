"""What a model answers to the rows of a task, as predictions with scores and losses."""

from collections.abc import Sequence
from dataclasses import dataclass

from multitune.core.errors import MultituneError
from multitune.core.records import Example, Prediction, Split
from multitune.core.seeds import generator
from multitune.data.task_input import TaskInput
from multitune.inference.language_model import Completion, LanguageModel
from multitune.inference.local import LocalModel
from multitune.inference.options import choose_options

LONGEST_ANSWER = 512  # tokens generated at most where the task does not say


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to evaluate: its name in all tables, and the model that it is."""

    name: str  # `base`, or the name of an adapter
    model: LocalModel


def predict_task(
    model: LanguageModel, item: TaskInput, split: Split, *, seed: int, limit: int | None = None
) -> list[Prediction]:
    """What a model answers to the rows of one task, in the order of the split.

    The choice of rows depends on the seed, the task, the split and the limit alone, so that all models meet the
    same ones; rows that are too long for the run are not among them.

    Raises:
        MultituneError: see `LanguageModel`.
    """
    return predict_rows(model, item, split, chosen_rows(item, split, seed=seed, limit=limit))


def predict_rows(
    model: LanguageModel, item: TaskInput, split: Split, places: Sequence[int], *, max_new_tokens: int | None = None
) -> list[Prediction]:
    """`predict_task` on given rows of a split, by their places among its tokenised rows.

    `max_new_tokens` is the most that is generated, by the task when None.
    """
    return predict_examples(model, item, rows_at(item, split, places), max_new_tokens=max_new_tokens)


def predict_examples(
    model: LanguageModel, item: TaskInput, rows: Sequence[Example], *, max_new_tokens: int | None = None
) -> list[Prediction]:
    """`predict_rows` on any rows of a task, such as changed ones."""
    task = item.data.task
    try:
        if task.kind == "text":
            completions = [Completion("", float(loss)) for loss in model.loglikelihood(rows).loss]
        elif task.kind == "choice" and model.tells_likelihood:
            completions = choose_options(model, rows, task.config.length_normalized)
        elif task.kind == "classify" and model.tells_likelihood:
            completions = model.choose(rows, task.labels)
        else:
            completions = model.generate(rows, max_new_tokens or longest_answer(item), task.config.stop)
    except MultituneError as error:
        raise type(error)(f"task {item.name!r}, {error}") from error
    return [
        task.predict(row, one.text, one.loss, one.cut, one.rank) for row, one in zip(rows, completions, strict=True)
    ]


def rows_at(item: TaskInput, split: Split, places: Sequence[int]) -> list[Example]:
    """Rows of a split as text, by their places among its tokenised rows."""
    return [item.data.examples[split][item.tokens[split].kept[place]] for place in places]


def chosen_rows(item: TaskInput, split: Split, *, seed: int, limit: int | None = None) -> list[int]:
    """Places of the rows to answer, in order: all, or as many as the limit, drawn by the seed."""
    rows = generator(seed, "evaluate", item.name, split).permutation(len(item.tokens[split]))
    return sorted(rows[:limit].tolist())


def longest_answer(item: TaskInput) -> int:
    """Most tokens to generate: as the task says, or twice its longest training answer, at most 512.

    A retention set trains on nothing: its own longest answer stands in.
    """
    rows = next(rows for rows in item.tokens.values() if len(rows))
    seen = 2 * int(rows.answer_lengths.max())
    return item.data.task.config.max_new_tokens or min(seen, LONGEST_ANSWER)
