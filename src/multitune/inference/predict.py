"""What a model of the bank answers to the rows of a task, as predictions with scores and losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multitune.config.schema import RunConfig
from multitune.core.errors import MultituneError
from multitune.core.records import Prediction, Segments, Split
from multitune.core.seeds import generator
from multitune.data.task_input import TaskInput
from multitune.data.tokenizer import ChatFormat
from multitune.inference.generate import GenerateOptions, generate
from multitune.inference.labels import answer_losses, score_labels
from multitune.model.bank import AdapterBank

LONGEST_ANSWER = 512  # tokens generated at most where the task does not say


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to evaluate: its name in all tables, and the adapter of a bank that it is."""

    name: str  # `base`, or the name of an adapter
    bank: AdapterBank
    adapter: str  # in `bank`; `base` where the backbone itself was trained


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Which rows to answer, and how many at once."""

    limit: int | None = None  # most rows of a split; None for all
    batch_size: int = 32
    pack_tokens: int = 2048
    seed: int = 17  # draws the rows where there are more than `limit`


def predict_task(
    bank: AdapterBank, adapter: str, item: TaskInput, split: Split, chat: ChatFormat, options: PredictOptions
) -> list[Prediction]:
    """The answers of one adapter (or `base`) to the rows of one task, in the order of the split.

    The choice of rows depends on the seed, the task, the split and the limit alone, so that all adapters meet the
    same ones; rows that are too long for the run are not among them.

    Raises:
        MultituneError: the outputs are not finite, or a single prompt does not fit into memory.
    """
    return predict_rows(bank, adapter, item, (split, chosen_rows(item, split, options)), chat, options)


def predict_rows(
    bank: AdapterBank,
    adapter: str,
    item: TaskInput,
    chosen: tuple[Split, Sequence[int]],
    chat: ChatFormat,
    options: PredictOptions,
) -> list[Prediction]:
    """`predict_task` on given rows of a split, by their places among its tokenised rows."""
    split, places = chosen
    rows = [item.tokens[split][i] for i in places]
    task = item.data.task
    try:
        if task.config.kind == "classify":
            outputs, losses = _pick_labels(bank, adapter, item, rows, chat, options.pack_tokens)
        else:
            decoding = GenerateOptions(longest_answer(item), options.batch_size, options.pack_tokens)
            outputs, losses = generate(bank, adapter, rows, chat, decoding)
    except MultituneError as error:
        raise type(error)(f"task {item.name!r}, {error}") from error
    examples = [item.data.examples[split][item.tokens[split].kept[i]] for i in places]
    return [
        task.predict(example, output, float(loss))
        for example, output, loss in zip(examples, outputs, losses, strict=True)
    ]


def chosen_rows(item: TaskInput, split: Split, options: PredictOptions) -> list[int]:
    """Places of the rows to answer, in order: all, or as many as the limit, drawn by the seed."""
    rows = generator(options.seed, "evaluate", item.name, split).permutation(len(item.tokens[split]))
    return sorted(rows[: options.limit].tolist())


def longest_answer(item: TaskInput) -> int:
    """Most tokens to generate: as the task says, or twice its longest training answer, at most 512.

    A retention set trains on nothing: its own longest answer stands in.
    """
    rows = next(rows for rows in item.tokens.values() if len(rows))
    seen = 2 * int(rows.answer_lengths.max())
    return item.data.task.config.max_new_tokens or min(seen, LONGEST_ANSWER)


def _pick_labels(
    bank: AdapterBank, adapter: str, item: TaskInput, rows: Sequence[Segments], chat: ChatFormat, pack_tokens: int
) -> tuple[list[str], np.ndarray]:
    """The likeliest label of each row, and the loss of the right one, in nats per token, float64 (row,)."""
    labels = item.data.task.labels
    encoded = chat.encode_answers(labels)
    scores = score_labels(bank, adapter, [row.prompt for row in rows], encoded, pack_tokens)
    numbers = {tuple(ids.tolist()): number for number, ids in enumerate(encoded)}
    golds = [numbers[tuple(row.answer.tolist())] for row in rows]
    places = np.arange(len(rows)), golds
    losses = -scores.log_likelihood[places] / [len(row.answer) for row in rows]
    # The search may have ruled out a right label without scoring all of it.
    missing = np.flatnonzero(~scores.exact[places])
    losses[missing] = answer_losses(bank, adapter, [rows[i] for i in missing.tolist()], pack_tokens)
    return [labels[best] for best in scores.best], losses


def predict_options(config: RunConfig, limit: int | None) -> PredictOptions:
    """As the run's config says, with a limit of its own."""
    return PredictOptions(limit, config.evaluate.batch_size, config.train.pack_tokens, config.seed)
