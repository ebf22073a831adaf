"""A model that finds options likely by a rule, for measurements that ask for likelihoods alone."""

from collections.abc import Callable, Sequence
from typing import final

import numpy as np

from multitune.core.records import Example
from multitune.inference.language_model import Completion, LanguageModel, Likelihoods

Rule = Callable[[Example], float]  # log-likelihood of a row's answer


@final
class LikelyModel(LanguageModel):
    """Neither writes nor chooses."""

    tells_likelihood = True

    def __init__(self, rule: Rule, longest: int = 10_000) -> None:
        """Of `rule`; an answer of more than `longest` characters is too long for it."""
        self.rule, self.longest = rule, longest

    def loglikelihood(self, rows: Sequence[Example]) -> Likelihoods:
        """By the rule."""
        return Likelihoods(np.array([self.rule(row) for row in rows]), np.ones(len(rows), dtype=np.int64))

    def generate(self, rows: Sequence[Example], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        """A fault of the measurement."""
        raise AssertionError("a text was asked for, where likelihoods are to do")

    def choose(self, rows: Sequence[Example], labels: Sequence[str]) -> list[Completion]:
        """A fault of the measurement."""
        raise AssertionError("a label was asked for, where likelihoods are to do")

    def are_readable(self, rows: Sequence[Example]) -> list[bool]:
        """Those whose answer is not too long."""
        return [len(row.answer) <= self.longest for row in rows]
