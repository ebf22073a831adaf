"""The next token of each request: greedy or sampled, with the log-probabilities that it asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

HEAD = 1024  # the likeliest tokens, among which those of `top_p` are looked for first


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are chosen; a temperature of 0 is greedy."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: int | None = None  # alternatives to report for each token; None reports nothing


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, how likely it was, and the likeliest in its place; in nats, before temperature and top_p."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()  # token and log-probability, likeliest first


def pick(logits: torch.Tensor, options: SamplingOptions, random: np.random.Generator) -> int:
    """The next token behind logits (vocab,).

    Source for top_p: nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751.
    """
    if options.temperature == 0:
        return int(logits.argmax())
    chance = torch.softmax(logits.float() / options.temperature, dim=-1)
    draw = random.random()
    if options.top_p >= 1:
        return _at(chance.double().cumsum(0), draw)
    top = chance.topk(min(HEAD, len(chance)))
    if float(top.values.sum()) < options.top_p:
        top = chance.sort(descending=True)
    total = top.values.double().cumsum(0)
    count = int((total - top.values < options.top_p).sum())  # the first that together reach it
    return int(top.indices[_at(total[:count], draw)])


def _at(total: torch.Tensor, draw: float) -> int:
    """The place in growing sums (token,) where a share of the last one falls."""
    place = torch.searchsorted(total, draw * float(total[-1]), right=True)
    return min(int(place), len(total) - 1)


def logprobs_of(logits: torch.Tensor, tokens: Sequence[int], alternatives: int) -> list[TokenLogprob]:
    """How likely each token is behind the logits (token, vocab) in its place."""
    found: list[TokenLogprob] = []
    for row, token in zip(logits, tokens, strict=True):
        values = torch.log_softmax(row.float(), dim=-1)
        top = values.topk(alternatives) if alternatives else None
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True) if top else ()
        found.append(TokenLogprob(token, float(values[token]), tuple(pairs)))
    return found
