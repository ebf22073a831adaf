"""One contract for every model: how likely answers are, and what it answers, whether it runs here or behind an API.

The form is that of lm-evaluation-harness: a model is a few methods over rows, and whatever stores or counts its
answers is wrapped around it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multitune.core.records import Example


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answers to a row."""

    text: str
    loss: float | None = None  # mean negative log-likelihood of the row's own answer, in nats; None: unknown
    cut: bool = False  # whether it had not ended within the most tokens it may generate
    rank: int | None = None  # of the row's own answer among its options, 1 for the likeliest; None: unknown


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """How likely the answers of rows are."""

    nats: np.ndarray  # float64 (row,) log-likelihood, summed over the answer's tokens
    tokens: np.ndarray  # int64 (row,) tokens of the answer, the one that closes the turn among them

    @property
    def loss(self) -> np.ndarray:
        """Mean negative log-likelihood of a token, float64 (row,)."""
        return -self.nats / self.tokens


class LanguageModel(ABC):
    """A model that answers the rows of tasks."""

    tells_likelihood: bool  # whether `loglikelihood` and `choose` can be asked

    @abstractmethod
    def loglikelihood(self, rows: Sequence[Example]) -> Likelihoods:
        """How likely each row's own answer is behind its prompt.

        Raises:
            InputError: this model tells no likelihoods.
            MultituneError: its outputs are not finite.
        """

    @abstractmethod
    def generate(self, rows: Sequence[Example], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """Greedy answers to the prompts of rows, in their order, each up to one of the stop strings.

        Raises:
            MultituneError: outputs that are not finite, a prompt that does not fit, a server that fails.
        """

    def are_readable(self, rows: Sequence[Example]) -> list[bool]:
        """Whether each row, its answer included, is no longer than the model was made for, as far as that is known."""
        return [True] * len(rows)

    @abstractmethod
    def choose(self, rows: Sequence[Example], labels: Sequence[str]) -> list[Completion]:
        """The likeliest of the labels behind each prompt; the answer of a row is one of them.

        Raises:
            InputError: this model tells no likelihoods.
            MultituneError: its outputs are not finite.
        """
