"""The forward passes of one step of the engine: parts of prompts are read, and running requests get a token each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch

from multitune.model.bank import BASE_NUMBER, AdapterBank
from multitune.model.slot_cache import SCRATCH, SlotCache
from multitune.serving.grammars import TokenMask
from multitune.serving.requests import GenerationRequest
from multitune.serving.text_stream import TextStream

ALIGN = 64  # an adapter's tokens of prompts come in multiples of this: sums then do not depend on their number
ROWS = 16  # so do rows that get a token, and logits


@dataclass(slots=True, eq=False)
class Running:
    """A request that runs: what of it was read, and where its tokens lie."""

    request: GenerationRequest
    blocks: list[int]
    keys: list[bytes]  # of the whole blocks of its prompt
    places: np.ndarray  # int64 (token,) in the store, of all tokens that it may come to
    stream: TextStream
    random: np.random.Generator
    read: int  # tokens whose keys and values are in the store
    mask: TokenMask | None = None  # of the tokens that may come next; None where any may
    tokens: list[int] = field(default_factory=list[int])  # generated; the last one is not read yet

    @property
    def unread(self) -> int:
        """Tokens of the prompt that are still to be read."""
        return max(0, len(self.request.prompt) - self.read)


@dataclass(frozen=True, slots=True)
class Part:
    """Some tokens of a prompt that a pass reads, and what it found behind them."""

    sequence: Running
    first: int
    last: int  # past the last one

    @property
    def tokens(self) -> np.ndarray:
        """int32 (token,)"""
        return self.sequence.request.prompt[self.first : self.last]

    @property
    def ends(self) -> bool:
        """Whether the prompt is read then."""
        return self.last == len(self.sequence.request.prompt)

    def wanted(self) -> np.ndarray:
        """Which of its tokens logits are needed of, int64 (node,)."""
        if self.sequence.request.prompt_logprobs is not None:
            return np.arange(self.last - self.first)
        return np.array([self.last - self.first - 1] if self.ends else [], dtype=np.int64)


def parts_of(sequences: Sequence[Running], budget: int) -> list[Part]:
    """The parts of prompts that the next pass reads, in the order of arrival, at most `budget` tokens."""
    parts: list[Part] = []
    for sequence in sequences:
        count = min(sequence.unread, budget)
        if count:
            parts.append(Part(sequence, sequence.read, sequence.read + count))
            budget -= count
    return parts


@torch.no_grad()
def read_prompts(bank: AdapterBank, cache: SlotCache, parts: Sequence[Part]) -> Iterator[tuple[Part, torch.Tensor]]:
    """Read parts of prompts in one pass; each with the logits of the tokens it wants, (node, vocab)."""
    tokens: list[np.ndarray] = []
    paths: list[np.ndarray] = []
    slices: list[tuple[int, int, int]] = []
    nodes: list[np.ndarray] = []
    order: list[Part] = []
    size = 0
    ordered = sorted(parts, key=lambda part: bank.number(part.sequence.request.adapter))
    for number, group in groupby(ordered, key=lambda part: bank.number(part.sequence.request.adapter)):
        start = size
        for part in group:
            tokens.append(part.tokens)
            paths.append(part.sequence.places[: part.last])
            nodes.append(part.wanted() + size)
            order.append(part)
            size += len(part.tokens)
        if missing := -(size - start) % ALIGN:
            tokens.append(np.zeros(missing, dtype=np.int32))
            paths.append(np.arange(1, missing + 1))
            size += missing
        if number != BASE_NUMBER:
            slices.append((number, start, size))
    cache.write_to(np.concatenate([path[-len(new) :] for path, new in zip(paths, tokens, strict=True)]))
    with bank.route(tuple(slices), size):
        logits = bank.backbone.extend(tokens, paths, cache, _filled(np.concatenate(nodes)))
    start = 0
    for part, wanted in zip(order, nodes, strict=True):
        part.sequence.read = part.last
        yield part, logits[start : start + len(wanted)]
        start += len(wanted)


@torch.no_grad()
def next_logits(bank: AdapterBank, cache: SlotCache, sequences: Sequence[Running]) -> torch.Tensor:
    """Read the last token of each sequence, and give the logits behind it, (sequence, vocab)."""
    filled = [sequences[i % len(sequences)] for i in range(-(-len(sequences) // ROWS) * ROWS)]
    paths = [one.places[: one.read + 1] for one in filled]
    for extra in range(len(sequences), len(filled)):
        paths[extra] = np.append(paths[extra][:-1], 1 + extra % (SCRATCH - 1))
    cache.write_to(np.array([path[-1] for path in paths]))
    with bank.mix([one.request.adapter for one in filled]):
        logits = bank.backbone.follow([one.tokens[-1] for one in filled], paths, cache)
    for one in sequences:
        one.read += 1
    return logits[: len(sequences)]


def _filled(nodes: np.ndarray) -> np.ndarray:
    """Nodes filled up by the last one again; the first token where there is none."""
    nodes = nodes if len(nodes) else np.zeros(1, dtype=np.int64)
    return np.pad(nodes, (0, -len(nodes) % ROWS), mode="edge")
