"""quality.empty: rows whose prompt or answer shows nothing: white space and invisible characters alone."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from multitune.audit.checks import Audited, AuditSet, Check, Dropped, Found, Threshold
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt, Finding

NAME = "quality.empty"
SHOWN = 5  # examples of a finding
PARTS: tuple[Literal["prompt", "answer"], ...] = ("prompt", "answer")
# Rows without white space alone are refused when they are read; what is left shows nothing all the same.
_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and signs that Unicode defines to be blank


def shows_nothing(text: str) -> bool:
    """Whether no character of a text can be seen."""
    return all(char in _BLANK or unicodedata.category(char) in _UNSEEN for char in text)


def _rows(one: AuditSet) -> Iterator[tuple[Split, str, str]]:
    """(split, row, what is empty of it) of every row that shows nothing."""
    for split in SPLITS:
        texts = zip(one.texts(split, "id"), one.texts(split, "prompt"), one.texts(split, "answer"), strict=True)
        for row, *parts in texts:
            empty = [part for part, text in zip(PARTS, parts, strict=True) if shows_nothing(text)]
            if empty:
                yield split, row, " and ".join(empty)


def _find(audited: Audited) -> Iterator[Found]:
    least = audited.thresholds["share"]
    for one in audited.sets:
        found, of = list(_rows(one)), sum(one.sizes().values())
        audited.advance(of)
        if not found or len(found) / of < least:
            continue
        counts = Counter(what for *_, what in found)
        shown = ", ".join(f"{count} an empty {what}" for what, count in counts.most_common())
        yield Finding(
            check=NAME,
            severity="high",
            sets=(one.name,),
            message=f"{len(found)} of {of} rows show nothing: {shown}",
            remedy="Fill these rows, or take them out.",
            rows=len(found),
            of=of,
            value=len(found) / of,
            threshold=least,
            examples=tuple(
                Excerpt(set=one.name, split=split, row=row, text=f"empty {what}") for split, row, what in found[:SHOWN]
            ),
        )


def _drops(audited: Audited) -> Iterator[Dropped]:
    for one in audited.sets:
        for split, row, what in _rows(one):
            yield Dropped(one.name, split, row, f"its {what} shows nothing")


CHECKS = (
    Check(
        name=NAME,
        title="rows that show nothing",
        find=_find,
        thresholds={
            "share": Threshold(0.0, "a row without a question or an answer teaches nothing, so one is too many")
        },
        drops=_drops,
    ),
)
