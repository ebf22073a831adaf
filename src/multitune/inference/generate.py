"""Free text by greedy decoding, and how likely the right answer was: prompts are read once for both.

Prompts that begin alike share what they begin with, as in training, and a row that has ended leaves its batch. Models
that cannot share prefixes go through transformers' own `generate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, groupby

import numpy as np
import torch
from transformers import DynamicCache

from multitune.core.errors import MultituneError
from multitune.core.records import Pack, PackRow, Segments
from multitune.data.tokenizer import ChatFormat
from multitune.inference.labels import answer_losses, not_finite
from multitune.inference.likelihood import row_sums
from multitune.inference.memory import halved, ran_out_of_memory
from multitune.inference.row_by_row import ROWS, GenerateOptions, decoded_row_by_row
from multitune.inference.stops import StopStrings
from multitune.model.backbone import Backbone
from multitune.model.bank import AdapterBank
from multitune.model.likelihood import node_losses
from multitune.tasks.output_parsing import free_text


@dataclass(frozen=True, slots=True)
class Generated:
    """What was decoded, in the order of the rows."""

    texts: list[str]  # without special tokens or white space at their ends
    losses: np.ndarray  # float64 (row,) mean negative log-likelihood of each row's own answer tokens
    cut: list[bool]  # whether no token closed the turn within the most new tokens


@torch.no_grad()
def generate(
    bank: AdapterBank, adapter: str, rows: Sequence[Segments], chat: ChatFormat, options: GenerateOptions
) -> Generated:
    """Decode greedily after each prompt, up to the end of the turn or a stop string, and score the answer given.

    Batches that the memory cannot hold are halved.

    Raises:
        MultituneError: the adapter's outputs are not finite, or not even one prompt fits into memory.
    """
    ends = _Ends(frozenset(chat.stop_ids), StopStrings(options.stop, chat.tokenizer))
    if bank.backbone.shares_prefixes:
        answers, losses = _Reader(bank, adapter, rows, ends, options).run()
    else:
        answers = decoded_row_by_row(
            bank, adapter, [row.prompt for row in rows], chat, options=options, strings=ends.strings
        )
        losses = answer_losses(bank, adapter, rows, options.pack_tokens)
    whole = [str(chat.tokenizer.decode(answer, skip_special_tokens=True)) for answer in answers]
    texts = [ends.strings.cut(text) for text in whole]
    limits = zip(answers, texts, whole, strict=True)
    cut = [len(answer) >= options.max_new_tokens and text == full for answer, text, full in limits]
    return Generated([free_text(text.removeprefix(chat.space)) for text in texts], losses, cut)


@dataclass(frozen=True, slots=True)
class _Ends:
    """What ends an answer."""

    tokens: frozenset[int]  # that close the turn
    strings: StopStrings

    def reached(self, answer: Sequence[int], following: int) -> bool:
        """Whether an answer has ended, by its latest token or by the one that follows."""
        return following in self.tokens or (bool(answer) and self.strings.ended(answer))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A row whose prompt was read."""

    row: int
    token: int  # that comes next
    path: np.ndarray  # int64 (prompt_token,) where its prompt lies in `cache`
    cache: DynamicCache  # keys and values of its pack


@dataclass(slots=True)
class _Reader:
    """Reads packs of prompts, and decodes as soon as a batch of them waits."""

    bank: AdapterBank
    adapter: str
    rows: Sequence[Segments]
    ends: _Ends
    options: GenerateOptions
    size: int = 0  # of a batch, as far as the memory allows
    waiting: list[_Begun] = field(default_factory=list[_Begun])
    answers: list[list[int]] = field(default_factory=list[list[int]])

    def run(self) -> tuple[list[list[int]], np.ndarray]:
        """The tokens of each row's answer before the one that ends it, and the loss of its own answer."""
        self.size, self.answers = self.options.batch_size, [[] for _ in self.rows]
        losses = np.empty(len(self.rows))
        number = self.bank.number(self.adapter)
        packed = [PackRow(row, number, task=0) for row in self.rows]
        for pack in self.bank.backbone.pack(packed, self.options.pack_tokens):
            try:
                losses[list(pack.rows)] = self._read(pack)
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                raise MultituneError(
                    f"adapter {self.adapter!r}: {len(pack)} tokens of prompts do not fit into memory at once. "
                    "Lower train.pack_tokens (train.max_length is its least), or use device: cpu"
                ) from error
            self._decode()
        self._decode(last=True)
        return self.answers, losses

    def _read(self, pack: Pack) -> np.ndarray:
        """Let a pack's rows wait for their turn; the loss of each, float64 (row,)."""
        cache = DynamicCache()
        with self.bank.route(pack.slices, len(pack)):
            logits, which = self.bank.backbone.read(pack, cache, batch_invariant=True)
        targets = torch.from_numpy(pack.target_token).to(logits.device)
        total, tokens = row_sums(pack, node_losses(logits, which, targets))
        if not np.isfinite(total).all():
            raise not_finite(self.adapter)
        first = np.unique(pack.target_row, return_index=True)[1]  # where each row's answer begins
        following = logits[which[torch.from_numpy(first).to(which.device)]].argmax(-1).tolist()
        for row, node, token in zip(pack.rows, pack.target_node[first].tolist(), following, strict=True):
            path = np.flatnonzero(pack.end[: node + 1] > node)
            self.waiting.append(_Begun(row, token, path, cache))
        return total / tokens

    def _decode(self, last: bool = False) -> None:
        """Decode the full batches that wait, and at the end the rest."""
        while len(self.waiting) >= (1 if last else self.size):
            batch = self.waiting[: self.size]
            try:
                self._finish(batch)
            except (RuntimeError, MemoryError) as error:
                self.size = halved(error, self.adapter, [self.rows[one.row].prompt for one in batch])
                continue
            del self.waiting[: len(batch)]

    def _finish(self, begun: Sequence[_Begun]) -> None:
        """Decode a batch to its end; rows that have ended make room."""
        batch = _Batch.of(begun)
        answers: dict[int, list[int]] = {one.row: [] for one in begun}
        with self.bank.use(self.adapter):
            for left in reversed(range(self.options.max_new_tokens)):
                followed = zip(batch.rows, batch.tokens, strict=True)
                batch.keep([not self.ends.reached(answers[row], token) for row, token in followed])
                for row, token in zip(batch.rows, batch.tokens, strict=True):
                    answers[row].append(token)
                if not batch.rows or not left:
                    break
                if not batch.step(self.bank.backbone):
                    raise not_finite(self.adapter)
        for row, answer in answers.items():
            self.answers[row] = answer


@dataclass(slots=True)
class _Batch:
    """Rows that are decoded side by side, as branches of one forest that grows by a token each."""

    rows: list[int]
    tokens: list[int]  # that come next
    paths: list[np.ndarray]  # int64 (token,) where a row's tokens lie in `cache`
    cache: DynamicCache  # keys and values of all of them, prompts that begin alike once
    size: int  # tokens in `cache`

    @classmethod
    def of(cls, begun: Sequence[_Begun]) -> "_Batch":
        """A batch at its beginning, with the keys and values of its prompts."""
        packs: list[tuple[DynamicCache, np.ndarray]] = []
        paths: list[np.ndarray] = []
        size = 0
        for _, group in groupby(begun, key=lambda one: id(one.cache)):
            rows = list(group)
            nodes = np.unique(np.concatenate([one.path for one in rows]))
            paths += [np.searchsorted(nodes, one.path) + size for one in rows]
            packs.append((rows[0].cache, nodes))
            size += len(nodes)
        return cls([one.row for one in begun], [one.token for one in begun], paths, _joined(packs), size)

    def keep(self, wanted: Sequence[bool]) -> None:
        """Go on with some of the rows."""
        self.rows = list(compress(self.rows, wanted))
        self.tokens = list(compress(self.tokens, wanted))
        self.paths = list(compress(self.paths, wanted))

    def step(self, backbone: Backbone) -> bool:
        """Read the next tokens, and find those that follow; False if a logit is not a number."""
        # Rows are filled up with copies: few of them would be multiplied by kernels that add in another order.
        filled = [i % len(self.rows) for i in range(-(-len(self.rows) // ROWS) * ROWS)]
        paths = [np.append(self.paths[i], self.size + place) for place, i in enumerate(filled)]
        logits = backbone.follow([self.tokens[i] for i in filled], paths, self.cache)[: len(self.rows)]
        self.size += len(filled)
        self.paths = paths[: len(self.rows)]
        self.tokens = logits.argmax(-1).tolist()
        return not bool(logits.isnan().any())  # the likeliest token would hide it


def _joined(packs: Sequence[tuple[DynamicCache, np.ndarray]]) -> DynamicCache:
    """Keys and values of some tokens of each pack, one pack behind the other."""

    def of(layer: int, what: str) -> torch.Tensor | None:
        parts: list[torch.Tensor] = []
        for cache, nodes in packs:
            stored: torch.Tensor | None = getattr(cache.layers[layer], what, None)  # (1, head, token, width)
            if stored is None:  # a layer that reads another's keys has none of its own
                return None
            parts.append(stored.index_select(2, torch.from_numpy(nodes).to(stored.device)))
        return torch.cat(parts, dim=2)

    return DynamicCache([(of(layer, "keys"), of(layer, "values")) for layer in range(len(packs[0][0].layers))])
