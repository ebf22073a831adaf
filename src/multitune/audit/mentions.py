"""Which rows of a set mention which groups of people, apart from what its template says in every row."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from multitune.audit.checks import AuditSet
from multitune.audit.lexicon import Lexicon, Term, holistic_bias
from multitune.audit.personal_data import excerpt
from multitune.core.records import Split
from multitune.core.results.audit import Excerpt

_IN_TEMPLATE = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RowMentions:
    """The terms of one row's text."""

    row: str  # its id
    text: str
    words: int
    people: Counter[Term]  # mentions that are surely about people
    others: Counter[Term]  # of the same terms where they may mean something else


def row_mentions(one: AuditSet, split: Split, *, answers: bool) -> Iterator[RowMentions]:
    """The mentions in each row of a split.

    Args:
        one: the set.
        split: of it.
        answers: whether the answers are looked at as well as the prompts.
    """
    lexicon = holistic_bias()
    of_template, template_words = _counted(lexicon, _IN_TEMPLATE.sub(" ", one.task.config.prompt))
    texts = zip(one.texts(split, "id"), one.texts(split, "prompt"), one.texts(split, "answer"), strict=True)
    for row, prompt, answer in texts:
        text = f"{prompt}\n{answer}" if answers else prompt
        counts, words = _counted(lexicon, text)
        if of_template[0] or of_template[1]:
            counts = counts[0] - of_template[0], counts[1] - of_template[1]
        yield RowMentions(row, text, max(0, words - template_words), *counts)


def _counted(lexicon: Lexicon, text: str) -> tuple[tuple[Counter[Term], Counter[Term]], int]:
    """(mentions of people, others) of each term, and the words of a text."""
    mentions, words = lexicon.mentions(text)
    people = Counter(mention.term for mention in mentions if mention.of_person)
    others = Counter(mention.term for mention in mentions if not mention.of_person)
    return (people, others), words


def shown(one: AuditSet, split: Split, row: RowMentions, term: Term) -> Excerpt:
    """A row as evidence: the text around the term, in which personal data is masked."""
    head = _IN_TEMPLATE.split(one.task.config.prompt, maxsplit=1)[0]  # the same in every row
    first = len(head) if row.text.startswith(head) else 0
    start, end = holistic_bias().place(row.text, term, first) or (first, first)
    return Excerpt(set=one.name, split=split, row=row.row, text=excerpt(row.text, start, end))
