"""How alike two texts are: ROUGE-L, chrF, BLEU, and the same text; a value of None is alike to nothing."""

from functools import cache, lru_cache
from typing import Any

import numpy as np

from multitune.core.text import normal_form, text_key
from multitune.tasks.sufficient_statistics import Values
from multitune.tasks.words import spaced, words

_CACHED_PAIRS = 1 << 16  # a bootstrap asks for the same few hundred pairs a thousand times


def alike(value: str | None, gold: str) -> float:
    """1 for texts that are alike but for case and spacing."""
    return float(value is not None and text_key(value) == text_key(gold))


class _Words:
    """Words as rouge_score asks for them; its own are those of English alone."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return words(text)


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


@cache
def _sentence_chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


@cache
def _sentence_bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@lru_cache(_CACHED_PAIRS)
def rouge_l(value: str | None, gold: str) -> float:
    """F of the longest common sequence of words."""
    if not words(gold):  # signs alone
        return alike(value, gold)
    return float(_rouge_scorer().score(gold, value or "")["rougeL"].fmeasure)


@lru_cache(_CACHED_PAIRS)
def chrf(value: str | None, gold: str) -> float:
    """chrF of one text."""
    return _sentence_chrf().sentence_score(normal_form(value or ""), [normal_form(gold)]).score / 100


@lru_cache(_CACHED_PAIRS)
def _bleu_counts(value: str | None, gold: str) -> Any:
    return _sentence_bleu().sentence_score(spaced(value or ""), [spaced(gold)])


def bleu_example(value: str | None, gold: str) -> float:
    """BLEU of one text, of as many n-gram orders as it has."""
    return _bleu_counts(value, gold).score / 100


def bleu(values: Values, golds: Values) -> float:
    """Corpus BLEU out of the n-gram counts of the sentences; the same number as sacrebleu's corpus_score.

    Where no answer has four words, only as many count as there are (effective order).
    """
    counts = [_bleu_counts(value, gold) for value, gold in zip(values, golds, strict=True)]
    summed = _sentence_bleu().compute_bleu(
        correct=np.sum([c.counts for c in counts], axis=0).tolist(),
        total=np.sum([c.totals for c in counts], axis=0).tolist(),
        sys_len=sum(c.sys_len for c in counts),
        ref_len=sum(c.ref_len for c in counts),
        effective_order=True,
    )
    return summed.score / 100
