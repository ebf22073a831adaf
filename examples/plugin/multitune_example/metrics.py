"""`word_f1`: how many words of the answer were given, and how many of the given ones belong there."""

from collections import Counter
from collections.abc import Sequence

from multitune.tasks.metrics import Metric


def word_f1(value: str | None, gold: str) -> float:
    """F1 of one answer's words, whatever their order and case; an output that could not be read scores 0.

    Source: Rajpurkar et al. 2016, SQuAD, arXiv:1606.05250, section 6.1.
    """
    predicted, right = (Counter((text or "").casefold().split()) for text in (value, gold))
    shared = (predicted & right).total()
    return 2 * shared / (predicted.total() + right.total()) if shared else 0.0


def mean_word_f1(values: Sequence[str | None], golds: Sequence[str]) -> float:
    """Mean over the answers."""
    return sum(word_f1(value, gold) for value, gold in zip(values, golds, strict=True)) / len(golds)


WORD_F1 = Metric(
    name="word_f1",
    about="Mean F1 of the answers' words.",
    kinds=frozenset({"generate"}),
    corpus=mean_word_f1,
    example=word_f1,
    right_wrong=False,
)
