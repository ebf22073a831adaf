"""quality.truncated, quality.mojibake and quality.length: texts that were cut, wrongly decoded, or far too long."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from ftfy.badness import is_bad

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.personal_data import masked
from multitune.audit.rows import shortened
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt, Finding, Severity
from multitune.core.text import likely_cut

TRUNCATED, MOJIBAKE, LENGTH = "quality.truncated", "quality.mojibake", "quality.length"
SHOWN = 5  # examples of a finding
LEAST_CHARACTERS = 80  # shorter texts are titles and names, and end without a full stop
LEAST_ROWS = 20  # texts by which one sees how the texts of a set end
Part = Literal["prompt", "answer"]
PARTS: tuple[Part, ...] = ("prompt", "answer")
Place = tuple[Split, int]


def is_open(text: str) -> bool:
    """Whether a text stops in the middle of a sentence: on a letter, a digit, a comma or an opening bracket."""
    text = text.rstrip()
    last = text[-1:]
    return last.isalpha() or last in set(",;:([{-–—&") or text.endswith("...") or last == "…"


def is_mojibake(text: str) -> bool:
    """Whether a text was decoded as something that it is not, such as `â€™` for an apostrophe.

    Source: ftfy's heuristic, https://ftfy.readthedocs.io.
    """
    return not text.isascii() and ("\N{REPLACEMENT CHARACTER}" in text or is_bad(text))


def _finding(
    check: str, one: AuditSet, part: Part, found: list[Place], of: int, threshold: float, *, says: str, remedy: str
) -> Finding:
    severity: Severity = "medium" if len(found) / of >= 0.01 else "low"
    tail = check == TRUNCATED
    return Finding(
        check=check,
        severity=severity,
        sets=(one.name,),
        subject=part,
        message=f"{len(found)} of {of} {part}s {says}",
        remedy=remedy,
        rows=len(found),
        of=of,
        value=len(found) / of,
        threshold=threshold,
        examples=tuple(
            Excerpt(set=one.name, split=split, row=row.id, text=_end(text) if tail else shortened(text))
            for split, place in found[:SHOWN]
            for row in [one.rows(split)[place]]
            for text in [getattr(row, part)]
        ),
    )


def _end(text: str) -> str:
    return f"…{shortened(masked(text)[-LEAST_CHARACTERS:])}"


def _texts(one: AuditSet, part: Part) -> Iterator[tuple[Place, str]]:
    for split in SPLITS:
        for place, text in enumerate(one.texts(split, part)):
            yield (split, place), text


def _parts(audited: Audited) -> Iterator[tuple[AuditSet, Part, int]]:
    """Each set with each of its parts that is free text, and its rows."""
    for one in audited.sets:
        of = sum(one.sizes().values())
        for part in PARTS if one.kind == "generate" else PARTS[:1]:
            if of:
                yield one, part, of
        audited.advance(of)


def _truncated(audited: Audited) -> Iterator[Found]:
    least, closed = audited.thresholds["share"], audited.thresholds["closed"]
    for one, part, of in _parts(audited):
        sizes, long, open_ends = [], 0, []
        for place, text in _texts(one, part):
            sizes.append(len(text))
            if len(text) >= LEAST_CHARACTERS:
                long += 1
                if is_open(text):
                    open_ends.append(place)
        remedy = "Get the rows from a source that has them whole, or take them out."
        if cut := likely_cut(sizes):
            longest = max(sizes)
            places = [place for place, text in _texts(one, part) if len(text) == longest]
            says = f"have exactly {longest} characters, and none has more: the source may have cut them"
            yield _finding(TRUNCATED, one, part, places[:cut], of, least, says=says, remedy=remedy)
        # Where most texts of a set end their last sentence, the others may have been cut.
        elif long >= LEAST_ROWS and open_ends and 1 - len(open_ends) / long >= closed and len(open_ends) / of >= least:
            says = "stop in the middle of a sentence, where the others end theirs"
            yield _finding(TRUNCATED, one, part, open_ends, of, least, says=says, remedy=remedy)


def _mojibake(audited: Audited) -> Iterator[Found]:
    least = audited.thresholds["share"]
    for one, part, of in _parts(audited):
        found = [place for place, text in _texts(one, part) if is_mojibake(text)]
        if found and len(found) / of >= least:
            says = "were decoded as what they are not"
            remedy = "Read the source with its own encoding, or repair the texts, as package ftfy does."
            yield _finding(MOJIBAKE, one, part, found, of, least, says=says, remedy=remedy)


def _length(audited: Audited) -> Iterator[Found]:
    times = audited.thresholds["times"]
    for one, part, of in _parts(audited):
        sizes = np.fromiter((len(text) for _, text in _texts(one, part)), np.int64, of)
        low, middle, high = np.quantile(sizes, [0.25, 0.5, 0.75])
        far = np.log(max(high, 1.0)) + 3 * np.log(max(high, 1.0) / max(low, 1.0))  # Tukey's outer fence, in logarithms
        longest = max(float(np.exp(far)), times * float(middle))
        if of < LEAST_ROWS or not (sizes > longest).any():
            continue
        found = [place for place, text in _texts(one, part) if len(text) > longest]
        says = f"have more than {int(longest)} characters; half of all have at most {int(middle)}"
        remedy = "Look whether several rows or a whole page stand in one field; what exceeds the context is cut."
        yield _finding(LENGTH, one, part, found, of, times, says=says, remedy=remedy)


CHECKS = (
    Check(
        name=TRUNCATED,
        title="texts that were cut",
        find=_truncated,
        thresholds={
            "share": Threshold(0.0, "a cut answer teaches to stop early"),
            "closed": Threshold(0.9, "in a set where many texts end without a full stop, such an end says nothing"),
        },
    ),
    Check(
        name=MOJIBAKE,
        title="texts that were wrongly decoded",
        find=_mojibake,
        thresholds={"share": Threshold(0.0, "such signs mean nothing, and the model would learn to write them")},
    ),
    Check(
        name=LENGTH,
        title="texts that are far too long",
        find=_length,
        thresholds={"times": Threshold(10.0, "ten times the median is another kind of text")},
    ),
)
