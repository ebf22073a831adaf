"""Counterfactual texts: the terms of two groups of people swapped, with their case and articles."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from multitune.audit import person_words
from multitune.audit.lexicon import holistic_bias

WOMEN_MEN = "women and men"
# Women's word -> men's. `her` is two words: see `_her`.
_GENDERED = """
    she he, hers his, herself himself, woman man, women men, girl boy, girls boys, lady gentleman, ladies gentlemen,
    mother father, mothers fathers, mom dad, moms dads, mum dad, mums dads, mommy daddy, mummy daddy, daughter son,
    daughters sons, wife husband, wives husbands, sister brother, sisters brothers, grandmother grandfather,
    grandmothers grandfathers, grandma grandpa, grandmas grandpas, aunt uncle, aunts uncles, niece nephew,
    nieces nephews, girlfriend boyfriend, girlfriends boyfriends, bride groom, brides grooms, widow widower,
    widows widowers, madam sir, mrs mr, ms mr, female male, females males, actress actor, actresses actors,
    waitress waiter, waitresses waiters, businesswoman businessman, businesswomen businessmen,
    chairwoman chairman, spokeswoman spokesman, policewoman policeman, policewomen policemen,
    saleswoman salesman, saleswomen salesmen, congresswoman congressman, schoolgirl schoolboy
"""
# Pairs of adjectives and nouns, which count only where they are surely about people.
_OTHERS: Mapping[str, str] = {
    "old and young people": "old young",
    "poor and rich people": "poor rich",
    "Black and white people": "black white",
    "Muslims and Christians": "muslim christian, muslims christians",
    "gay and straight people": "gay straight",
}
PAIRS = (WOMEN_MEN, *_OTHERS)
_WORD = re.compile(r"[^\W\d_]+")
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Swap:
    """A text in which the terms of a pair were swapped."""

    text: str
    first: int  # terms that named the first side of the pair
    second: int


def swap(text: str, pair: str) -> Swap:
    """Swap every term of a pair; `first` and `second` are 0 where the text names neither.

    English alone, word by word: `her` before a noun becomes `his`, elsewhere `him`. Names are left as they are.

    Args:
        text: any.
        pair: one of PAIRS.

    Source: CDA of Lu et al. 2018, arXiv:1807.11714, for the gendered pairs.
    """
    parts: list[str] = []
    counts = [0, 0]
    last = 0
    for start, end, side, word in _gendered(text) if pair == WOMEN_MEN else _others(text, pair):
        before = text[last:start]
        if article := _ARTICLE.search(before):
            given = "an" if word[0] in "aeiou" else "a"
            before = before[: article.start()] + _cased(given, article[1]) + article[2]
        parts += [before, _cased(word, text[start:end])]
        counts[side] += 1
        last = end
    return Swap("".join([*parts, text[last:]]), counts[0], counts[1])


def _gendered(text: str) -> Iterator[tuple[int, int, int, str]]:
    """(start, end, side, the other side's word) of each term."""
    women, men = _both(_GENDERED)
    for found in _WORD.finditer(text):
        word = found[0].casefold()
        if word in ("her", "his"):
            yield (
                *found.span(),
                int(word == "his"),
                _her(text, found.end()) if word == "her" else _his(text, found.end()),
            )
        elif word == "him":
            yield *found.span(), 1, "her"
        elif word in women or word in men:
            yield *found.span(), int(word in men), women.get(word) or men[word]


def _her(text: str, end: int) -> str:
    """`his` in front of what she has, else `him`."""
    return "his" if _has_noun(text, end) else "him"


def _his(text: str, end: int) -> str:
    return "her" if _has_noun(text, end) else "hers"


def _has_noun(text: str, end: int) -> bool:
    """Whether the next word, with nothing but a blank before it, may be a noun or belong to one."""
    following = re.match(r"\s+([^\W\d_]+)", text[end:])
    return following is not None and following[1].casefold() not in person_words.ENDS


def _others(text: str, pair: str) -> Iterator[tuple[int, int, int, str]]:
    first, second = _both(_OTHERS[pair])
    past = 0
    for start, end, mention in holistic_bias().located(text):
        word = text[start:end].casefold()
        if mention.of_person and start >= past and (word in first or word in second):
            past = end
            yield start, end, int(word in second), first.get(word) or second[word]


def _both(listed: str) -> tuple[dict[str, str], dict[str, str]]:
    """First word -> second, and back; of several first words of one second, the first listed is the way back."""
    pairs = [(first, second) for first, second in (one.split() for one in listed.split(","))]
    return dict(pairs), {second: first for first, second in reversed(pairs)}


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[:1].isupper() else word
