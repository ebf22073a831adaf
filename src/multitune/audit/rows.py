"""What the rows of a run show, as arrays: by these, rows of all sets and splits are compared."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from multitune.audit.checks import Audited, AuditSet
from multitune.audit.personal_data import masked
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt
from multitune.core.text import printable, text_key
from multitune.data.splits import text_hash

LEAST_ROWS = 20  # rows from which on what all prompts begin with is taken for an instruction
SHOWN = 160  # characters of an example
HELD_OUT: tuple[Split, ...] = SPLITS[1:]


@dataclass(frozen=True, slots=True)
class Frame:
    """The instruction around what the rows of a set show."""

    head: str
    tail: str

    def inside(self, prompt: str) -> str:
        """What a row shows: its prompt without the instruction that all rows share; the prompt if that is all."""
        text = prompt.removeprefix(self.head)
        return text.removesuffix(self.tail).strip() or prompt


def frame_of(one: AuditSet) -> Frame:
    """What all prompts of a set begin and end with, up to a line's end or a colon.

    In a small set this says little; there it is the text of the template before its first and after its last column.
    """
    if sum(one.sizes().values()) < LEAST_ROWS:
        template = re.split(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", one.task.config.prompt, flags=re.DOTALL)
        return Frame(template[0].lstrip(), template[-1].rstrip()) if len(template) > 1 else Frame("", "")
    prompts = (prompt for split in SPLITS for prompt in one.texts(split, "prompt"))
    start = end = next(prompts)
    for prompt in prompts:
        if not prompt.startswith(start):
            start = _common(start, prompt)
        if not prompt.endswith(end):
            end = _common(end[::-1], prompt[::-1])[::-1]
    head = re.match(r".*(?:\n|:\s)", start, flags=re.DOTALL)
    tail = re.search(r"\n.*", end, flags=re.DOTALL)
    return Frame(head.group() if head else "", tail.group() if tail else "")


def _common(one: str, other: str) -> str:
    """What both texts begin with."""
    size = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:size]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of all sets, split by split; equal texts have equal numbers."""

    frames: tuple[Frame, ...]  # of each set
    set: np.ndarray  # int16 (row,) place of its set in the run
    split: np.ndarray  # int8 (row,) place in SPLITS
    place: np.ndarray  # int64 (row,) in its split
    shown: np.ndarray  # uint64 (row,) hash of the text that it shows, without case and spacing
    answer: np.ndarray  # uint64 (row,) hash of its answer, likewise

    def of(self, number: int, split: Split) -> np.ndarray:
        """The rows of one split of a set, int64 (row,)."""
        return np.flatnonzero((self.set == number) & (self.split == SPLITS.index(split)))


def read_rows(audited: Audited) -> Rows:
    """All rows, in two passes over their texts; sets may be larger than memory."""
    frames = tuple(map(frame_of, audited.sets))
    parts: list[tuple[int, int, Split]] = [
        (i, j, split) for i in range(len(audited.sets)) for j, split in enumerate(SPLITS)
    ]
    counts = [len(audited.sets[i].rows(split)) for i, _, split in parts]
    answers = (answer for i, _, split in parts for answer in audited.sets[i].texts(split, "answer"))
    return Rows(
        frames,
        np.repeat(np.array([i for i, *_ in parts], dtype=np.int16), counts),
        np.repeat(np.array([j for _, j, _ in parts], dtype=np.int8), counts),
        np.concatenate([np.zeros(0, np.int64), *map(np.arange, counts)]).astype(np.int64),
        _hashes(shown_texts(audited.sets, frames), sum(counts)),
        _hashes(answers, sum(counts)),
    )


def shown_texts(sets: Sequence[AuditSet], frames: Sequence[Frame]) -> Iterator[str]:
    """What every row shows, in the order of `Rows`."""
    for one, frame in zip(sets, frames, strict=True):
        for split in SPLITS:
            yield from map(frame.inside, one.texts(split, "prompt"))


def _hashes(texts: Iterable[str], number: int) -> np.ndarray:
    return np.fromiter((text_hash(text_key(text), 0) for text in texts), np.uint64, number)


def excerpt(audited: Audited, rows: Rows, row: int) -> Excerpt:
    """A row as an example of a finding."""
    number, split = int(rows.set[row]), SPLITS[rows.split[row]]
    one = audited.sets[number]
    found = one.rows(split)[int(rows.place[row])]
    return Excerpt(set=one.name, split=split, row=found.id, text=shortened(rows.frames[number].inside(found.prompt)))


def shortened(text: str) -> str:
    """One line of a text, for an example; personal data is masked before anything is cut off."""
    line = printable(" ".join(masked(text).split()))
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
