"""The likeliest of a row's own options: multiple choice, by the likelihood of each option behind the prompt."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from multitune.core.records import Example
from multitune.inference.language_model import Completion, LanguageModel

ROWS_AT_ONCE = 4096  # (row, option) pairs laid out at a time; bounds the memory they take outside the model


def choose_options(model: LanguageModel, rows: Sequence[Example], length_normalized: bool = False) -> list[Completion]:
    """The likeliest option of each row, with loss and rank of its own answer where that is one of them.

    All options stand behind one prompt, which a pack lays out once.

    Args:
        model: tells likelihoods.
        rows: each with options.
        length_normalized: compare log-likelihoods per byte of an option, else in sum.

    Raises:
        MultituneError: the model's outputs are not finite.
    Source: length per byte is acc_norm of lm-evaluation-harness, its sum acc.
    """
    found: list[Completion] = []
    for batch in _batches(rows):
        pairs = [replace(row, answer=option) for row in batch for option in row.options]
        scores = model.loglikelihood(pairs)
        ends = np.cumsum([len(row.options) for row in batch])[:-1]
        parts = zip(batch, np.split(scores.nats, ends), np.split(scores.loss, ends), strict=True)
        for row, nats, losses in parts:
            lengths = [len(option.encode()) for option in row.options] if length_normalized else 1
            order = np.argsort(-nats / lengths, kind="stable").tolist()
            best = row.options[order[0]]
            if row.answer in row.options:
                own = row.options.index(row.answer)
                found.append(Completion(best, float(losses[own]), rank=1 + order.index(own)))
            else:
                found.append(Completion(best))
    return found


def _batches(rows: Sequence[Example]) -> list[list[Example]]:
    batches: list[list[Example]] = []
    size = ROWS_AT_ONCE
    for row in rows:
        if size + len(row.options) > ROWS_AT_ONCE:
            batches.append([])
            size = 0
        batches[-1].append(row)
        size += len(row.options)
    return batches
