"""leaks.overlap: held-out rows of which long passages stand in training rows of any set."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.rows import HELD_OUT, shortened
from multitune.core.records import Split
from multitune.core.results.audit import Excerpt, Finding, Measure
from multitune.core.text import normal_form

NAME = "leaks.overlap"
SHORT, LONG = 13, 50  # words of a run that two rows share
COVERED = Threshold(0.5, "a row shares single runs with many others, such as the name of a law")
SHOWN = 3
TEXTS = 5000  # hashed at once
_WORD = re.compile(r"\w+")
_FACTOR = 0x9E3779B97F4A7C15


def runs_of_words(texts: list[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """A hash of every run of so many words, uint64 (run,), and the text that it stands in, int64 (run,).

    Words are compared without case and punctuation; a text with fewer words has no run.
    """
    words = [list(map(hash, _WORD.findall(normal_form(text).casefold()))) for text in texts]
    counts = np.fromiter(map(len, words), np.int64, len(words))
    flat = np.array([word for text in words for word in text], dtype=np.int64).view(np.uint64)
    text = np.repeat(np.arange(len(texts)), counts)
    starts = max(len(flat) - size + 1, 0)
    found = np.zeros(starts, dtype=np.uint64)
    for at in range(size):
        found = found * np.uint64(_FACTOR) + (flat[at : at + starts] ^ (flat[at : at + starts] >> np.uint64(29)))
    inside = text[:starts] == text[size - 1 :] if starts else np.zeros(0, dtype=bool)
    return found[inside], text[:starts][inside]


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """The runs of the rows of one held-out split."""

    number: int  # of its set
    split: Split
    short: np.ndarray  # uint64 (run,)
    row: np.ndarray  # int64 (run,) place of the row that each run stands in
    long: np.ndarray  # likewise for long runs
    long_row: np.ndarray

    def overlap(self, trained: Mapping[int, np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each row, the share of its short runs that training rows hold, and whether they hold a long one."""
        total = np.bincount(self.row, minlength=rows)
        shared = np.bincount(self.row[np.isin(self.short, trained[SHORT])], minlength=rows)
        long = np.bincount(self.long_row[np.isin(self.long, trained[LONG])], minlength=rows) > 0
        return shared / np.maximum(total, 1), long


def overlapping_rows(sets: Sequence[AuditSet], split: Split) -> list[np.ndarray]:
    """Of each set, which rows of a held-out split overlap with training rows of any of them, bool (row,).

    A row does that shows the same text as a training row, or that the check would count.
    """
    held = list(_held_out(sets, (split,)))
    known, least = _known(held), COVERED.value
    trained = np.concatenate([np.zeros(0, np.uint64), *(one.shown_keys("train") for one in sets)])
    found = [np.isin(one.shown_keys(split), trained) for one in sets]
    for one in sets if held else ():
        seen = _seen(one, known)
        for part in held:
            covered, long = part.overlap(seen, len(found[part.number]))
            found[part.number] |= (covered >= least) | long
    return found


def _find(audited: Audited) -> Iterator[Found]:
    held = list(_held_out(audited.sets, HELD_OUT))
    known = _known(held)
    for number, one in enumerate(audited.sets):
        if len(one.rows("train")) and held:
            trained = _seen(one, known)
            for part in held:
                yield from _compared(audited, part, number, trained)
        audited.advance(sum(one.sizes().values()))


def _known(held: Sequence[_HeldOut]) -> dict[int, np.ndarray]:
    """The runs of all held-out rows, by their size."""
    return {
        SHORT: np.unique(np.concatenate([np.zeros(0, np.uint64), *(one.short for one in held)])),
        LONG: np.unique(np.concatenate([np.zeros(0, np.uint64), *(one.long for one in held)])),
    }


def _held_out(sets: Sequence[AuditSet], splits: Sequence[Split]) -> Iterator[_HeldOut]:
    for number, one in enumerate(sets):
        for split in splits:
            parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {SHORT: [], LONG: []}
            for first, texts in _batches(one, split):
                for size, found in parts.items():
                    runs, row = runs_of_words(texts, size)
                    found.append((runs, row + first))
            if parts[SHORT]:
                short, long = (tuple(map(np.concatenate, zip(*parts[size], strict=True))) for size in (SHORT, LONG))
                yield _HeldOut(number, split, *short, *long)


def _batches(one: AuditSet, split: Split) -> Iterator[tuple[int, list[str]]]:
    """What the rows of a split show, some at a time, each time with the place of the first."""
    texts = one.shown(split)
    first = 0
    while part := list(islice(texts, TEXTS)):
        yield first, part
        first += len(part)


def _seen(one: AuditSet, known: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Those of the known runs that stand in training rows of a set: memory grows with what is held out alone."""
    seen = {size: np.zeros(len(runs), dtype=bool) for size, runs in known.items()}
    for _, texts in _batches(one, "train"):
        for size, runs in known.items():
            if len(runs):
                found, _ = runs_of_words(texts, size)
                places = np.minimum(np.searchsorted(runs, found), len(runs) - 1)
                seen[size][places[runs[places] == found]] = True
    return {size: runs[seen[size]] for size, runs in known.items()}


def _compared(audited: Audited, part: _HeldOut, number: int, trained: Mapping[int, np.ndarray]) -> Iterator[Found]:
    """One held-out split against the training rows of one set."""
    one, other = audited.sets[part.number], audited.sets[number]
    of, least = len(one.rows(part.split)), audited.thresholds["share"]
    covered, long = part.overlap(trained, of)
    found = (covered >= audited.thresholds["covered"]) | long
    where = "train" if one is other else f"train of {other.name}"
    if (covered > 0).any():
        name = f"{part.split} rows with {SHORT} words in a row that stand in {where}"
        yield Measure(check=NAME, set=one.name, name=name, value=int((covered > 0).sum()), unit="rows")
    if not found.any():
        return
    value = float(found.mean())
    runs = f"at least {audited.thresholds['covered']:.0%} of their runs of {SHORT} words stand there"
    yield Finding(
        check=NAME,
        severity="high" if value >= least else "medium",
        sets=tuple(sorted({one.name, other.name})),
        subject=f"{part.split} of {one.name}",
        message=f"{found.sum()} of {of} {part.split} rows of {one.name} overlap with {where}: {runs}, or {LONG} words "
        f"in a row do, which {int(long.sum())} rows share",
        remedy="Take the training rows out, keep rows of one document in one split by `group`, or report scores on "
        "the other rows beside those on all.",
        rows=int(found.sum()),
        of=of,
        value=value,
        threshold=least,
        examples=tuple(
            Excerpt(set=one.name, split=part.split, row=row.id, text=shortened(one.frame.inside(row.prompt)))
            for row in (one.rows(part.split)[place] for place in np.flatnonzero(found)[:SHOWN].tolist())
        ),
    )


CHECKS = (
    Check(
        name=NAME,
        title="held-out texts in training rows",
        find=_find,
        thresholds={
            "share": Threshold(0.01, "from one row in a hundred on, the score may be off by a point"),
            "covered": COVERED,
        },
    ),
)
