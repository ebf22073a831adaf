"""quality.language: rows in another language than their set's."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.rows import shortened
from multitune.core.extras import missing_extra
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt, Finding
from multitune.core.seeds import generator

LANGUAGE = "quality.language"
# Without those that a large one is taken for, such as Scots or Nigerian Pidgin for English.
KNOWN = (
    "ar bg bn ca cs da de el en es et fa fi fr gu he hi hr hu hy id it ja ka kk kn ko lt lv mk ml mr ms my ne nl no "
    "pa pl pt ro ru sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh"
)
LEAST_LETTERS = 40  # in a shorter text a name decides what language it is taken for
SURE = 0.99  # probability from which on a text is believed to be out of place
LEAST_TEXTS = 20  # by which one sees what language a set is in
MOST_ROWS = 20_000  # of a set; the identifier reads one or two thousand a second
SHOWN = 5  # examples of a finding

Place = tuple[Split, int, str]  # of a row, and its text


@cache
def identifier() -> Callable[[str], tuple[str, float]]:
    """A function that gives the likeliest language of a text, as ISO 639-1, and its probability among `KNOWN`.

    Source: Lui & Baldwin 2012, langid.py, in the model of py3langid.

    Raises:
        MissingExtraError: py3langid is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise missing_extra("languages", "audit") from error
    found = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found.set_languages(KNOWN.split())
    return found.classify


def _texts(one: AuditSet, seed: int) -> Iterator[Place]:
    """What rows show, and answers where these are free text; of at most `MOST_ROWS` rows, which are drawn."""
    of = sum(one.sizes().values())
    drawn = np.ones(of, dtype=bool)
    if of > MOST_ROWS:
        drawn[generator(seed, LANGUAGE, one.name).permutation(of)[MOST_ROWS:]] = False
    before = 0
    for split in SPLITS:
        for part in (one.shown(split), *([one.texts(split, "answer")] if one.kind == "generate" else [])):
            for place, text in enumerate(part):
                if drawn[before + place] and sum(map(str.isalpha, text)) >= LEAST_LETTERS:
                    yield split, place, text
        before += len(one.rows(split))


def _language(audited: Audited) -> Iterator[Found]:
    classify = identifier()
    for one in audited.sets:
        read = [(*classify(place[2]), place) for place in _texts(one, audited.seed)]
        audited.advance(sum(one.sizes().values()))
        if len(read) < LEAST_TEXTS:
            continue
        main, times = Counter(language for language, _, _ in read).most_common(1)[0]
        others = [(language, place) for language, sure, place in read if language != main and sure > SURE]
        if others and times / len(read) >= audited.thresholds["main"]:
            yield _finding(one, main, others, len(read), audited.thresholds["main"])


def _finding(one: AuditSet, main: str, others: list[tuple[str, Place]], of: int, threshold: float) -> Finding:
    named = ", ".join(f"{language} {count}" for language, count in Counter(one for one, _ in others).most_common())
    return Finding(
        check=LANGUAGE,
        severity="medium" if len(others) / of >= 0.01 else "low",
        sets=(one.name,),
        subject="language",
        message=f"{len(others)} of {of} texts are in another language than {main}, which the set is in ({named})",
        remedy="Take them out or translate them; or keep them if users write so, and have some among the test rows.",
        rows=len(others),
        of=of,
        value=len(others) / of,
        threshold=threshold,
        examples=tuple(
            Excerpt(set=one.name, split=split, row=one.rows(split)[place].id, text=shortened(text))
            for _, (split, place, text) in others[:SHOWN]
        ),
    )


CHECKS = (
    Check(
        name=LANGUAGE,
        title="rows in another language",
        find=_language,
        thresholds={"main": Threshold(0.9, "a set of several languages has no rows that are out of place")},
    ),
)
