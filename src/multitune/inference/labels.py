"""The likeliest of a task's labels, by exact search, and the loss of given answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multitune.core.errors import MultituneError
from multitune.core.records import Segments
from multitune.inference.likelihood import row_losses
from multitune.model.bank import AdapterBank

FEW_LABELS = 8  # up to here all labels of an example are scored at once
ROWS_AT_ONCE = 4096  # (prompt, label) rows laid out at a time; bounds the memory they take outside the model


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Log-likelihoods of every label after every prompt, in nats."""

    best: np.ndarray  # int64 (example,) index of the likeliest label; the first of equals
    log_likelihood: np.ndarray  # float64 (example, label) summed over the label's tokens; else an upper bound of it
    exact: np.ndarray  # bool (example, label) False where `log_likelihood` is only a bound


def score_labels(
    bank: AdapterBank, adapter: str, prompts: Sequence[np.ndarray], labels: Sequence[np.ndarray], pack_tokens: int
) -> LabelScores:
    """Find the likeliest label after each prompt, as surely as if all were scored in full.

    With many labels most are ruled out by their first token alone: a label is never likelier than its beginning.

    Args:
        bank: holds the adapter.
        adapter: its name, or `base`.
        prompts: int32 (prompt_token,) each.
        labels: int32 (label_token,) each, with the token that closes the turn; none is empty.
        pack_tokens: most tokens in one forward pass.

    Raises:
        MultituneError: the adapter's outputs are not finite.
    """
    search = _LabelSearch(bank, adapter, labels, pack_tokens)
    size = max(1, ROWS_AT_ONCE // len(labels))
    parts = [search.run(prompts[start : start + size]) for start in range(0, len(prompts), size)]
    shape = (len(prompts), len(labels))
    scores = np.concatenate([scores for scores, _ in parts]) if parts else np.zeros(shape)
    exact = np.concatenate([exact for _, exact in parts]) if parts else np.ones(shape, dtype=bool)
    return LabelScores(scores.argmax(axis=1), scores, exact)


@dataclass(frozen=True, slots=True)
class _LabelSearch:
    """The search over one set of labels, for any number of groups of prompts."""

    bank: AdapterBank
    adapter: str
    labels: Sequence[np.ndarray]
    pack_tokens: int

    def run(self, prompts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(log-likelihoods or bounds, whether exact), both (example, label)."""
        if len(self.labels) <= FEW_LABELS:
            everything = np.ones((len(prompts), len(self.labels)), dtype=bool)
            return self._whole(prompts, everything)[everything].reshape(everything.shape), everything
        scores = self._first_tokens(prompts)
        exact = np.zeros(scores.shape, dtype=bool)
        # First the labels with the most promising beginning, then all that could still match the best of those.
        reachable = scores.max(axis=1, keepdims=True)
        while (open_ := (scores >= reachable) & ~exact).any():
            scores[open_] = self._whole(prompts, open_)[open_]
            exact |= open_
            reachable = np.where(exact, scores, -np.inf).max(axis=1, keepdims=True)
        return scores, exact

    def _first_tokens(self, prompts: Sequence[np.ndarray]) -> np.ndarray:
        """Log-likelihood of each label's first token, (example, label).

        Labels that begin alike share a row, and all rows of a prompt are targets of one node: the prompts alone run.
        """
        firsts, which = np.unique([label[0] for label in self.labels], return_inverse=True)
        rows = [Segments(prompt, firsts[i : i + 1]) for prompt in prompts for i in range(len(firsts))]
        return self._log_likelihood(rows).reshape(len(prompts), len(firsts))[:, which]

    def _whole(self, prompts: Sequence[np.ndarray], wanted: np.ndarray) -> np.ndarray:
        """Log-likelihood of the labels that are `wanted`, (example, label); zero elsewhere."""
        scores = np.zeros(wanted.shape)
        rows = [
            Segments(prompts[example], self.labels[label]) for example, label in zip(*np.nonzero(wanted), strict=True)
        ]
        scores[wanted] = self._log_likelihood(rows)
        return scores

    def _log_likelihood(self, rows: Sequence[Segments]) -> np.ndarray:
        """Log-likelihood of each row's whole answer, in nats, float64 (row,)."""
        return -answer_losses(self.bank, self.adapter, rows, self.pack_tokens) * [len(row.answer) for row in rows]


def answer_losses(bank: AdapterBank, adapter: str, rows: Sequence[Segments], pack_tokens: int) -> np.ndarray:
    """Mean negative log-likelihood of each row's answer tokens, float64 (row,), checked to be numbers.

    Raises:
        MultituneError: the adapter's outputs are not finite.
    """
    losses = row_losses(bank, adapter, rows, pack_tokens)
    require_finite(adapter, losses)
    return losses


def require_finite(adapter: str, values: np.ndarray) -> None:
    """Refuse what an adapter computed if any of it is no number.

    Raises:
        MultituneError: its weights are damaged or training diverged.
    """
    if not np.isfinite(values).all():
        raise not_finite(adapter)


def not_finite(adapter: str) -> MultituneError:
    """What to raise where the outputs of an adapter are not numbers."""
    return MultituneError(
        f"adapter {adapter!r}: its outputs are not finite numbers, so the weights are damaged or training diverged. "
        "Choose an earlier step, lower train.learning_rate, or use dtype: float32"
    )
