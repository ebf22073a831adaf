"""Greedy decoding by transformers' own `generate`, for models that cannot share prefixes."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from multitune.data.tokenizer import ChatFormat
from multitune.inference.labels import not_finite
from multitune.inference.memory import halved
from multitune.inference.stops import StopStrings
from multitune.model.backbone import padded_width
from multitune.model.bank import AdapterBank

ROWS = 16  # a step is computed for a multiple of so many rows


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """How far and how wide to decode."""

    max_new_tokens: int
    batch_size: int = 32  # rows decoded side by side
    pack_tokens: int = 2048  # most tokens of prompts in one forward pass
    stop: tuple[str, ...] = ()  # strings at which an answer ends, without them


def decoded_row_by_row(
    bank: AdapterBank,
    adapter: str,
    prompts: Sequence[np.ndarray],
    chat: ChatFormat,
    *,
    options: GenerateOptions,
    strings: StopStrings,
) -> list[list[int]]:
    """The tokens after each prompt, before the one that ends them, for models that keep their own kind of memory.

    Args:
        bank: holds the adapter.
        adapter: its name, or `base`.
        prompts: int32 (prompt_token,) each.
        chat: says which tokens end an answer.
        options: how far and how wide to decode.
        strings: that end an answer, too.

    Raises:
        MultituneError: the adapter's outputs are not finite, or not even one prompt fits into memory.
    """
    # Longest first: what does not fit into memory shows at once.
    widths = padded_width(np.array([len(prompt) for prompt in prompts], dtype=np.int64)).tolist()
    order = sorted(range(len(prompts)), key=lambda i: -widths[i])
    found: list[list[int]] = [[] for _ in prompts]
    size, done = options.batch_size, 0
    with bank.use(adapter) as model, _plain_defaults(model):
        while done < len(order):
            # A row's padding, and with it the order of its sums, must not depend on its neighbours.
            alike = next(group for _, group in groupby(order[done:], key=lambda i: widths[i]))
            batch = list(islice(alike, size))
            try:
                answers = _greedy(model, [prompts[i] for i in batch], chat, strings, options.max_new_tokens)
            except (RuntimeError, MemoryError) as error:
                size = halved(error, adapter, [prompts[i] for i in batch])
                continue
            if answers is None:
                raise not_finite(adapter)
            for i, answer in zip(batch, answers, strict=True):
                found[i] = answer
            done += len(batch)
    return found


@contextmanager
def _plain_defaults(model: Any) -> Generator[None]:
    """Within the block, what the base recommends for sampling is ignored.

    transformers fills every value that a call leaves open from the model's own generation config, repetition
    penalties included.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


class _NumbersOnly(LogitsProcessor):
    """Remembers whether any logit was not a number; greedy decoding itself would pick a token all the same."""

    def __init__(self, device: torch.device) -> None:
        self.seen_nan = torch.zeros((), dtype=torch.bool, device=device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        self.seen_nan |= scores.isnan().any()
        return scores


class _AtStrings(StoppingCriteria):
    """Ends rows at stop strings; what is generated begins behind so many tokens."""

    def __init__(self, strings: StopStrings, start: int) -> None:
        self._strings, self._start = strings, start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        ended = [self._strings.ended(row) for row in input_ids[:, self._start :].tolist()]
        return torch.tensor(ended, device=input_ids.device)


def _greedy(
    model: Any, prompts: Sequence[np.ndarray], chat: ChatFormat, strings: StopStrings, max_new_tokens: int
) -> list[list[int]] | None:
    """The tokens after each prompt, before the one that ends them; None if a logit was not a number."""
    stops = list(chat.stop_ids)
    pad: Any = chat.tokenizer.pad_token_id
    pad = stops[0] if pad is None else pad
    width = int(padded_width(np.array([len(prompt) for prompt in prompts])).max())
    filled = [*prompts, *[prompts[-1]] * (-len(prompts) % ROWS)]
    ids = torch.full((len(filled), width), pad, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(filled):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    check = _NumbersOnly(model.device)
    output = model.generate(
        ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=GenerationConfig(
            do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=stops, pad_token_id=pad
        ),
        logits_processor=LogitsProcessorList([check]),
        stopping_criteria=StoppingCriteriaList([_AtStrings(strings, width)]),
    )
    if check.seen_nan:
        return None
    return [_before_stop(answer, stops) for answer in output[: len(prompts), width:].tolist()]


def _before_stop(tokens: list[int], stops: Sequence[int]) -> list[int]:
    end = next((i for i, token in enumerate(tokens) if token in stops), len(tokens))
    return tokens[:end]
