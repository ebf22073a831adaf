"""What the rows of a run show, as arrays: by these, rows of all sets and splits are compared."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from multitune.audit.checks import Audited, AuditSet
from multitune.audit.personal_data import masked
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt
from multitune.core.text import printable

SHOWN = 160  # characters of an example
HELD_OUT: tuple[Split, ...] = SPLITS[1:]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of all sets, split by split; equal texts have equal numbers."""

    set: np.ndarray  # int16 (row,) place of its set in the run
    split: np.ndarray  # int8 (row,) place in SPLITS
    place: np.ndarray  # int64 (row,) in its split
    shown: np.ndarray  # uint64 (row,) hash of the text that it shows, without case and spacing
    answer: np.ndarray  # uint64 (row,) hash of its answer, likewise

    def of(self, number: int, split: Split) -> np.ndarray:
        """The rows of one split of a set, int64 (row,)."""
        return np.flatnonzero((self.set == number) & (self.split == SPLITS.index(split)))


def read_rows(audited: Audited) -> Rows:
    """All rows; the texts of sets, which may be larger than memory, are read once for all checks."""
    parts: list[tuple[int, int, Split]] = [
        (i, j, split) for i in range(len(audited.sets)) for j, split in enumerate(SPLITS)
    ]
    counts = [len(audited.sets[i].rows(split)) for i, _, split in parts]
    return Rows(
        np.repeat(np.array([i for i, *_ in parts], dtype=np.int16), counts),
        np.repeat(np.array([j for _, j, _ in parts], dtype=np.int8), counts),
        np.concatenate([np.zeros(0, np.int64), *map(np.arange, counts)]).astype(np.int64),
        _joined(audited.sets[i].shown_keys(split) for i, _, split in parts),
        _joined(audited.sets[i].answer_keys(split) for i, _, split in parts),
    )


def _joined(keys: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.uint64), *keys])


def shown_texts(sets: Sequence[AuditSet]) -> Iterator[str]:
    """What every row shows, in the order of `Rows`."""
    for one in sets:
        for split in SPLITS:
            yield from one.shown(split)


def excerpt(audited: Audited, rows: Rows, row: int) -> Excerpt:
    """A row as an example of a finding."""
    number, split = int(rows.set[row]), SPLITS[rows.split[row]]
    one = audited.sets[number]
    found = one.rows(split)[int(rows.place[row])]
    return Excerpt(set=one.name, split=split, row=found.id, text=shortened(one.frame.inside(found.prompt)))


def shortened(text: str) -> str:
    """One line of a text, for an example; personal data is masked before anything is cut off."""
    line = printable(" ".join(masked(text).split()))
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
