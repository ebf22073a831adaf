"""duplicates.exact and duplicates.near: rows that stand several times in a split, across splits and sets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from multitune.audit.checks import Audited, Check, Dropped, Found, Threshold
from multitune.audit.near import near_clusters
from multitune.audit.rows import HELD_OUT, Rows, excerpt, read_rows, shown_texts
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt, Finding

EXACT, NEAR = "duplicates.exact", "duplicates.near"
PAIRS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Texts:
    """The rows, and which of them show the same text."""

    check: str
    audited: Audited
    rows: Rows
    cluster: np.ndarray  # (row,) equal where the texts are the same or near
    word: str  # what the pair is called in a message

    @property
    def is_near(self) -> bool:
        return self.check == NEAR

    def held_in(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Whether the text of each row stands in the others, bool (row,); with near texts, not where it is equal."""
        found = np.isin(self.cluster[rows], self.cluster[others])
        return found & ~np.isin(self.rows.shown[rows], self.rows.shown[others]) if self.is_near else found

    def repeats(self, rows: np.ndarray) -> np.ndarray:
        """Whether each row repeats one before it, with its answer, bool (row,); each cluster has one that does not."""
        answers = self.rows.answer[rows]
        found = _repeats(self.cluster[rows], answers)
        return found & ~_repeats(self.rows.shown[rows], answers) if self.is_near else found

    def again(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Whether each row stands in the others with the same answer, bool (row,)."""
        answers, theirs = self.rows.answer[rows], self.rows.answer[others]
        found = np.isin(_pairs(self.cluster[rows], answers), _pairs(self.cluster[others], theirs))
        equal = np.isin(_pairs(self.rows.shown[rows], answers), _pairs(self.rows.shown[others], theirs))
        return found & ~equal if self.is_near else found

    def examples(self, rows: Iterable[int], others: np.ndarray) -> tuple[Excerpt, ...]:
        """The first rows, each followed by the one that it is the same as."""
        shown: list[Excerpt] = []
        for row in list(rows)[:PAIRS_SHOWN]:
            alike = others[(self.cluster[others] == self.cluster[row]) & (others != row)]
            shown += [excerpt(self.audited, self.rows, one) for one in (row, *alike[:1].tolist())]
        return tuple(shown)


def _pairs(cluster: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """uint64 (row,) equal where both are."""
    return cluster.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ answers


def _repeats(cluster: np.ndarray, answers: np.ndarray) -> np.ndarray:
    _, first = np.unique(_pairs(cluster, answers), return_index=True)
    found = np.ones(len(cluster), dtype=bool)
    found[first] = False
    return found


def _exact(audited: Audited) -> _Texts:
    rows = read_rows(audited)
    return _Texts(EXACT, audited, rows, rows.shown, "the same text")


def _near(audited: Audited) -> _Texts:
    rows = read_rows(audited)
    clusters = near_clusters(rows.shown, lambda: shown_texts(audited.sets), audited.thresholds["jaccard"])
    return _Texts(NEAR, audited, rows, clusters, "nearly the same text")


def _findings(texts: _Texts) -> Iterator[Found]:
    audited = texts.audited
    for number, one in enumerate(audited.sets):
        for split in SPLITS:
            yield from _within(texts, number, split)
        for split in HELD_OUT:
            for other in range(len(audited.sets)):
                yield from _held_out(texts, number, split, other)
        yield from _validated(texts, number)
        for other in range(number + 1, len(audited.sets)):
            yield from _trained_twice(texts, number, other)
        audited.advance(sum(one.sizes().values()))


def _within(texts: _Texts, number: int, split: Split) -> Iterator[Finding]:
    """Copies in one split of a set."""
    rows, least = texts.rows.of(number, split), texts.audited.thresholds["repeated"]
    found = texts.repeats(rows)
    value = float(found.mean()) if len(rows) else 0.0
    if not found.any() or value < least:
        return
    effect = "weigh more than others in training" if split == "train" else "count more than once in every score"
    yield Finding(
        check=texts.check,
        severity="medium" if value >= 10 * least else "low",
        sets=(texts.audited.sets[number].name,),
        subject=split,
        message=f"{found.sum()} of {len(rows)} {split} rows have {texts.word} and answer as another: they {effect}",
        remedy="Keep one row of each, as --fix does in train.",
        rows=int(found.sum()),
        of=len(rows),
        value=value,
        threshold=least,
        examples=texts.examples(rows[found].tolist(), rows),
    )


def _held_out(texts: _Texts, number: int, split: Split, other: int) -> Iterator[Finding]:
    """Rows that are held out in one set, and trained on in another or the same."""
    rows, train = texts.rows.of(number, split), texts.rows.of(other, "train")
    found = texts.held_in(rows, train)
    if not found.any():
        return
    name, trained = texts.audited.sets[number].name, texts.audited.sets[other].name
    value, high = float(found.mean()), texts.audited.thresholds["held_out"]
    where = "train" if name == trained else f"train of {trained}"
    remedy = "Take these rows out of train, as --fix does."
    if name != trained and not texts.is_near:
        remedy += " A run leaves out those that it knows by their prompt, unless cross_task_duplicates is `allow`."
    yield Finding(
        check=texts.check,
        severity="high" if value >= high else "medium",
        sets=tuple(sorted({name, trained})),
        subject=f"{split} of {name}",
        message=f"{found.sum()} of {len(rows)} {split} rows of {name} have {texts.word} as a row of {where}: "
        f"their score {'may show' if texts.is_near else 'shows'} what was learnt by heart",
        remedy=remedy,
        rows=int(found.sum()),
        of=len(rows),
        value=value,
        threshold=high,
        examples=texts.examples(rows[found].tolist(), train),
    )


def _validated(texts: _Texts, number: int) -> Iterator[Finding]:
    """Rows of test that stand in validation of the same set."""
    rows, validation = texts.rows.of(number, "test"), texts.rows.of(number, "validation")
    found, least = texts.held_in(rows, validation), texts.audited.thresholds["repeated"]
    if not found.any():
        return
    value = float(found.mean())
    yield Finding(
        check=texts.check,
        severity="medium" if value >= least else "low",
        sets=(texts.audited.sets[number].name,),
        subject="test and validation",
        message=f"{found.sum()} of {len(rows)} test rows have {texts.word} as a row of validation: what is chosen on "
        "validation is chosen on them too",
        remedy="Take these rows out of validation.",
        rows=int(found.sum()),
        of=len(rows),
        value=value,
        threshold=least,
        examples=texts.examples(rows[found].tolist(), validation),
    )


def _trained_twice(texts: _Texts, number: int, other: int) -> Iterator[Finding]:
    """Training rows of one set that stand in another with the same answer."""
    rows, train = texts.rows.of(number, "train"), texts.rows.of(other, "train")
    found, least = texts.again(rows, train), texts.audited.thresholds["repeated"]
    value = float(found.mean()) if len(rows) else 0.0
    if not found.any() or value < least:
        return
    name, trained = (texts.audited.sets[i].name for i in (number, other))
    yield Finding(
        check=texts.check,
        severity="low",
        sets=tuple(sorted((name, trained))),
        subject="train",
        message=f"{found.sum()} of {len(rows)} train rows of {name} have {texts.word} and answer as a train row of "
        f"{trained}: the mixture shows them more often than its shares say",
        remedy="Take them out of one of the sets, unless the two ask different questions about them.",
        rows=int(found.sum()),
        of=len(rows),
        value=value,
        threshold=least,
        examples=texts.examples(rows[found].tolist(), train),
    )


def _dropped(texts: _Texts) -> Iterator[Dropped]:
    """Training rows that are held out anywhere, or repeat a training row of their set; what is held out stays."""
    held = np.concatenate([texts.rows.of(i, split) for i in range(len(texts.audited.sets)) for split in HELD_OUT])
    for number, one in enumerate(texts.audited.sets):
        rows = texts.rows.of(number, "train")
        leaked, repeated = texts.held_in(rows, held), texts.repeats(rows)
        for place in np.flatnonzero(leaked | repeated).tolist():
            where = "a held-out row" if leaked[place] else "another row of train"
            yield Dropped(one.name, "train", one.rows("train")[place].id, f"it has {texts.word} as {where}")


_REPEATED = Threshold(0.01, "a row in a hundred that is seen twice changes neither a score nor a model")
_HELD_OUT = Threshold(0.01, "from one row in a hundred on, the score may be off by a point")

CHECKS = (
    Check(
        name=EXACT,
        title="rows that stand several times",
        find=lambda audited: _findings(_exact(audited)),
        thresholds={"repeated": _REPEATED, "held_out": _HELD_OUT},
        drops=lambda audited: _dropped(_exact(audited)),
    ),
    Check(
        name=NEAR,
        title="rows that are nearly the same",
        find=lambda audited: _findings(_near(audited)),
        thresholds={
            "repeated": _REPEATED,
            "held_out": Threshold(
                0.05, "a text that differs in a word may ask something else, so that a few are usual"
            ),
            "jaccard": Threshold(0.7, "about one edit in thirty characters; below it, other sentences of one form"),
        },
        drops=lambda audited: _dropped(_near(audited)),
    ),
)
