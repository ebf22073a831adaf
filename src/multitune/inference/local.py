"""A model that computes here: a backbone with one of its adapters, or without."""

from collections.abc import Sequence
from typing import final

import numpy as np

from multitune.config.schema import RunConfig
from multitune.core.errors import DataError
from multitune.core.records import Example, Segments
from multitune.data.row_tokens import row_tokens
from multitune.data.tokenizer import ChatFormat
from multitune.inference.generate import GenerateOptions, generate
from multitune.inference.labels import LabelScores, answer_losses, require_finite, score_labels
from multitune.inference.language_model import Completion, LanguageModel, Likelihoods
from multitune.inference.likelihood import row_likelihoods
from multitune.model.bank import AdapterBank


@final
class LocalModel(LanguageModel):
    """An adapter of a bank (or `base`), which reads rows in its own tokens."""

    tells_likelihood = True

    def __init__(self, bank: AdapterBank, adapter: str, chat: ChatFormat, config: RunConfig) -> None:
        """Nothing is computed yet.

        Args:
            bank: holds the adapter.
            adapter: its name, or `base`.
            chat: how the backbone reads prompts.
            config: says how many tokens and rows go side by side.
        """
        self.bank, self.adapter, self.chat = bank, adapter, chat
        self._batch_size, self._pack_tokens = config.evaluate.batch_size, config.train.pack_tokens

    def loglikelihood(self, rows: Sequence[Example]) -> Likelihoods:
        """By one forward pass over packs that share prefixes."""
        segments = self._encoded(rows)
        found = row_likelihoods(self.bank, self.adapter, segments, self._room(segments))
        require_finite(self.adapter, found.nats)
        return found

    def generate(self, rows: Sequence[Example], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """By greedy decoding; prompts are read once for the text and for the likelihood of the row's own answer."""
        segments = self._encoded(rows)
        options = GenerateOptions(max_new_tokens, self._batch_size, self._room(segments), tuple(stop))
        found = generate(self.bank, self.adapter, segments, self.chat, options)
        return [
            Completion(text, float(loss), cut)
            for text, loss, cut in zip(found.texts, found.losses, found.cut, strict=True)
        ]

    def choose(self, rows: Sequence[Example], labels: Sequence[str]) -> list[Completion]:
        """By exact search over the full likelihood of the labels."""
        segments, encoded = self._encoded(rows), self.chat.encode_answers(labels)
        scores = self._scores([row.prompt for row in segments], encoded)
        numbers = {tuple(ids.tolist()): number for number, ids in enumerate(encoded)}
        golds = [numbers[tuple(row.answer.tolist())] for row in segments]
        places = np.arange(len(rows)), golds
        losses = -scores.log_likelihood[places] / [len(row.answer) for row in segments]
        # The search may have ruled out a right label without scoring all of it.
        missing = [segments[i] for i in np.flatnonzero(~scores.exact[places]).tolist()]
        losses[~scores.exact[places]] = answer_losses(self.bank, self.adapter, missing, self._room(missing))
        return [Completion(labels[int(best)], float(loss)) for best, loss in zip(scores.best, losses, strict=True)]

    def answer(self, prompts: Sequence[np.ndarray], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Greedy answers to prompts in its own tokens, int32 (prompt_token,) each; no right answer is known."""
        closing = np.array(self.chat.stop_ids[:1], dtype=np.int32)  # in the place of an answer to score
        rows = [Segments(prompt, closing) for prompt in prompts]
        options = GenerateOptions(max_new_tokens, self._batch_size, self._room(rows), tuple(stop))
        return generate(self.bank, self.adapter, rows, self.chat, options).texts

    def pick(self, prompts: Sequence[np.ndarray], labels: Sequence[str]) -> list[str]:
        """The likeliest label behind each prompt in its own tokens, int32 (prompt_token,) each."""
        return [labels[int(best)] for best in self._scores(prompts, self.chat.encode_answers(labels)).best]

    def require_readable(self, rows: Sequence[Example]) -> None:
        """Refuse rows that are longer than the model was made for.

        Raises:
            DataError: names the first such row.
        """
        for row, fits in zip(rows, self.are_readable(rows), strict=True):
            if not fits:
                raise DataError(
                    f"task {row.task!r}: row {row.id!r} has more tokens than the {self.bank.backbone.longest:,} that "
                    f"{self.bank.backbone.ref.name} reads. Take another model, or leave such rows out by "
                    "train.max_length"
                )

    def are_readable(self, rows: Sequence[Example]) -> list[bool]:
        """By the base's positions."""
        limit = self.bank.backbone.longest
        return [limit is None or len(segments.tokens) <= limit for segments in self._encoded(rows)]

    def _scores(self, prompts: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> LabelScores:
        longest = max(map(len, prompts), default=0) + max(map(len, labels))
        return score_labels(self.bank, self.adapter, prompts, labels, max(self._pack_tokens, longest))

    def _encoded(self, rows: Sequence[Example]) -> list[Segments]:
        return row_tokens(rows, self.chat)

    def _room(self, rows: Sequence[Segments]) -> int:
        """Tokens of a pack, which must hold every row."""
        longest = max((len(row.prompt) + len(row.answer) for row in rows), default=0)
        return max(self._pack_tokens, longest)
