"""What an answer token weighs, and that only answers do."""

import numpy as np
import pytest

from multitune.core.records import Segments
from multitune.training.loss import answer_weights


def segments(prompt: int, answer: int) -> Segments:
    return Segments(np.arange(prompt, dtype=np.int32), np.arange(answer, dtype=np.int32))


def test_by_example_a_long_answer_weighs_as_much_as_a_short_one() -> None:
    rows = [segments(3, 2), segments(5, 50)]
    totals = [weight * len(row.answer) for weight, row in zip(answer_weights(rows, "example"), rows, strict=True)]
    assert totals == pytest.approx([0.5, 0.5])


def test_by_token_every_answer_token_weighs_the_same() -> None:
    rows = [segments(3, 2), segments(5, 50)]
    assert answer_weights(rows, "token") == pytest.approx([1 / 52, 1 / 52])
