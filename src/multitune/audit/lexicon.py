"""Terms for groups of people, as HolisticBias lists them, found in texts whatever their number and spelling."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, final

from multitune.audit import person_words

Use = Literal["alone", "near a person", "after a person"]  # where a term is surely about people
_MADE_UP = "nonce"  # an axis of words that mean nothing
_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"[^\W_]+|[.,;:!?()\"]")
_ARTICLE = re.compile(r"(?:\{article\} \{noun\} |an? )")


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """One term of the lexicon, with all its forms."""

    axis: str  # such as religion
    name: str  # as HolisticBias spells it; for the axis `gender`, women or men
    bucket: str = ""  # part of the axis, such as old of age


@dataclass(frozen=True, slots=True)
class Mention:
    """A term in a text."""

    term: Term
    of_person: bool  # whether it is surely about people: `a short man`, and not `a short position`


@dataclass(frozen=True, slots=True)
class _Entry:
    words: tuple[str, ...]
    term: Term
    use: Use


@final
class Lexicon:
    """Terms by their first word: one look at each word of a text finds all, the longest first."""

    def __init__(self, entries: Iterable[_Entry]) -> None:
        """Take entries; of several with the same words and term, the first counts."""
        self._by_first: dict[str, list[_Entry]] = {}
        for entry in {(entry.words, entry.term): entry for entry in reversed(list(entries))}.values():
            self._by_first.setdefault(entry.words[0], []).append(entry)
        for sharing in self._by_first.values():
            sharing.sort(key=lambda entry: (-len(entry.words), entry.term))
        self.terms = sorted({entry.term for sharing in self._by_first.values() for entry in sharing})
        self._first = frozenset(self._by_first)

    def mentions(self, text: str) -> tuple[list[Mention], int]:
        """The terms of a text in order, and how many words it has."""
        folded = text.casefold()
        words = _WORD.findall(folded)
        if self._first.isdisjoint(words):
            return [], len(words)
        return [mention for _, _, mention in self._found(_TOKEN.findall(folded))], len(words)

    def located(self, text: str) -> Iterator[tuple[int, int, Mention]]:
        """(start, end, mention) of each term of a text, in characters."""
        tokens = list(_TOKEN.finditer(text))
        for first, past, mention in self._found([token[0].casefold() for token in tokens]):
            yield tokens[first].start(), tokens[past - 1].end(), mention

    def place(self, text: str, term: Term, first: int = 0) -> tuple[int, int] | None:
        """Start and end of a term in a text from a character on, whatever it is about; None where it is not."""
        forms = ["[\\W_]+".join(entry.words) for entry in self._entries(term)]
        found = re.compile(rf"(?<![^\W_])(?:{'|'.join(forms)})(?![^\W_])", re.IGNORECASE).search(text, first)
        return found.span() if found else None

    def _entries(self, term: Term) -> list[_Entry]:
        return [entry for sharing in self._by_first.values() for entry in sharing if entry.term == term]

    def _found(self, tokens: Sequence[str]) -> Iterator[tuple[int, int, Mention]]:
        place = 0
        while place < len(tokens):
            length = 0
            for entry in self._by_first.get(tokens[place], ()):
                end = place + len(entry.words)
                if len(entry.words) < length:
                    break
                if len(entry.words) == 1 or tuple(tokens[place:end]) == entry.words:
                    length = len(entry.words)
                    yield place, end, Mention(entry.term, _is_of_person(tokens, place, end, entry))
            place += max(1, length)


def _is_of_person(tokens: Sequence[str], start: int, end: int, entry: _Entry) -> bool:
    if entry.use == "alone":
        return True
    people = person_words.nouns(entry.term.axis)
    if entry.use == "after a person":
        return start > 0 and tokens[start - 1] in people
    for token in tokens[end : end + 3]:  # a short old man
        if token in people:
            return True
        if token in person_words.ENDS:
            break
    return _is_said_of_person(tokens, start, end, people)


def _is_said_of_person(tokens: Sequence[str], start: int, end: int, people: frozenset[str]) -> bool:
    """Whether a term is the predicate of a person, as in `she is very tall.`"""
    if end < len(tokens) and tokens[end] not in person_words.AFTER_PREDICATE:
        return False
    place = start - 1
    while place >= 0 and tokens[place] in person_words.DEGREES:
        place -= 1
    if place < 1 or tokens[place] not in person_words.BEING:
        return False
    return any(token in people or token in person_words.PRONOUNS for token in tokens[max(0, place - 2) : place])


@cache
def holistic_bias() -> Lexicon:
    """The lexicon that comes with multitune: the descriptors and noun phrases of HolisticBias, and women and men.

    Source: Smith et al. 2022, arXiv:2205.09209.
    """
    return Lexicon([*_genders(), *_noun_phrases(), *_descriptors()])


def _read(name: str) -> Any:
    return json.loads(files("multitune.audit").joinpath("holisticbias", f"{name}.json").read_text("utf-8"))


def _descriptors() -> Iterator[_Entry]:
    for axis, buckets in _read("descriptors").items():
        for bucket, listed in buckets.items() if axis != _MADE_UP else ():
            for one in listed:
                name = one if isinstance(one, str) else one["descriptor"]
                term, words = Term(axis, name, bucket), _words(name)
                yield _Entry(words, term, "alone" if person_words.is_alone(axis, name) else "near a person")
                if person_words.has_plural(name):
                    yield _Entry((*words[:-1], words[-1] + "s"), term, "alone")


def _noun_phrases() -> Iterator[_Entry]:
    """`a Muslim` and `Muslims`, which are one term with the descriptor; `with a stutter` after a person."""
    descriptors = {entry.words: entry.term for entry in _descriptors()}
    for axis, phrases in _read("standalone_noun_phrases").items():
        for one in phrases:
            forms = [one] if isinstance(one, str) else [one[key] for key in one if key.endswith("noun_phrase")]
            name = _ARTICLE.sub("", forms[0])
            if name in person_words.NOT_NOUNS or "who" in name.split():  # who is deaf: found as a descriptor
                continue
            term = descriptors.get(_words(name), Term(axis, name))
            use: Use = "after a person" if "{noun}" in forms[0] else "alone"
            for form in forms:
                yield _Entry(_words(_ARTICLE.sub("", form)), term, use)


def _genders() -> Iterator[_Entry]:
    for group, key in (("women", "female"), ("men", "male")):
        words = [word for pair in _read("nouns")[key] for word in pair if word not in person_words.TO_ANYONE]
        for word in (*person_words.GENDERED[group], *words):
            yield _Entry((word,), Term("gender", group), "alone")


def _words(name: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(name.casefold()))
