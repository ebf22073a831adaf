"""One task's data, ready to tokenise: loaded, rendered, split without leaks, limited, its labels checked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from multitune.config.schema import TaskConfig
from multitune.core.errors import DataError
from multitune.core.records import SPLITS, Example, Split
from multitune.core.seeds import generator
from multitune.core.text import text_key
from multitune.data.examples import Examples, render
from multitune.data.recognition import recognise
from multitune.data.sources import Table, load_rows
from multitune.data.splits import carve, drop_cross_split_duplicates, text_hash
from multitune.tasks.output_parsing import has_decimal_comma, holds_one_number, read_number
from multitune.tasks.task import LABELLED, Task


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task and the examples of its splits; empty are those with a share of 0, and all but one of retention."""

    task: Task
    examples: dict[Split, Sequence[Example]]
    digests: dict[Split, str]  # sha256 of the source that a split's rows come from; a carved split has train's
    notes: list[str]  # what was carved, dropped or left out, one sentence each
    held_elsewhere: int = 0  # training rows left out, as another set of the run holds them out


def prepare_task(config: TaskConfig, seed: int, ends: Collection[str] = (), by_row: bool = False) -> TaskData:
    """Everything between a task's configuration and its examples.

    Validation and test stay as they are named; train loses the rows whose prompt stands in them too. A split without
    a name is then carved from train by hash of the prompt, documents kept whole, and limits draw with the seed.

    Args:
        config: its paths are absolute.
        seed: the run's.
        ends: end tokens of the base, which are taken off the end of answers.
        by_row: carve by hash of the whole row, so that sets from the same file hold out the same rows.

    Raises:
        DataError: rows cannot be read, or a split ends up empty.
        TaskError: rows do not fit the templates or the labels.
    """
    place = f"task {config.name!r}"
    tables = load_rows(config.data, place)
    config, notes = recognise(config, tables["train"])
    task = Task(config, ends, seed)
    notes += _incomplete(tables)
    named: dict[Split, Examples] = {}
    digests: dict[Split, str] = {}
    for split, table in tables.items():
        named[split], digests[split] = render(task, table)
    marks: dict[Split, _Marks] = {
        split: _Marks.of(examples, seed, config.kind in LABELLED, by_row) for split, examples in named.items()
    }
    # From all of train: a label whose only row is then held out is still a label.
    task.fit_labels(marks["train"].answers)
    for split in SPLITS[1:]:
        task.check_labels(named.get(split, []))
    notes += _ended(named.values()) + _unclear_numbers(config, named.values())
    kept = _without_cross_split_duplicates(marks, place, notes)
    apart: dict[Split, Examples] = {split: named[split].select(rows) for split, rows in kept.items()}
    divided = _divided(apart, marks["train"].of_rows(kept["train"]), config, notes, by_row)
    limited: dict[Split, Sequence[Example]] = {
        split: _limited(divided[split], split, config, seed) if split in divided else [] for split in SPLITS
    }
    drawn = [f"{len(limited[s])} of {len(divided[s])} {s}" for s in divided if len(limited[s]) < len(divided[s])]
    if drawn:
        notes.append(f"as limit says, rows drawn: {', '.join(drawn)}")
    return TaskData(task, limited, {split: digests.get(split, digests["train"]) for split in SPLITS}, notes)


def prepare_retention(config: TaskConfig, split: Split, seed: int, ends: Collection[str] = ()) -> TaskData:
    """A set that is never trained on: its rows of one split, or of `train` where its source names no such split.

    Args:
        config: its paths are absolute.
        split: the one that is evaluated on, under which the rows then stand.
        seed: the run's, with which its limit of that split draws.
        ends: end tokens of the base, which are taken off the end of answers.

    Raises:
        DataError: rows cannot be read.
        TaskError: rows do not fit the templates or the labels.
    """
    tables = load_rows(config.data, f"task {config.name!r}")
    config, notes = recognise(config, tables["train"])
    notes += _incomplete(tables)
    task = Task(config, ends, seed)
    rows, digest = render(task, tables.get(split, tables["train"]))
    task.fit_labels(rows.texts("answer"))
    limited = _limited(rows, split, config, seed)
    notes += _ended([rows])
    if len(limited) < len(rows):
        notes.append(f"as limit says, rows drawn: {len(limited)} of {len(rows)}")
    return TaskData(task, {s: limited if s == split else [] for s in SPLITS}, {split: digest}, notes)


def _incomplete(tables: Mapping[Split, Table]) -> list[str]:
    """How many rows were left out for a required column that they do not fill."""
    return [
        f"{split}: {count} rows left out, as they have nothing in {' or '.join(table.required)}"
        for split, table in tables.items()
        if (count := table.incomplete())
    ]


def _ended(sets: Collection[Examples]) -> list[str]:
    """How many answers lost an end token."""
    found = [(at, ending, rows) for rows in sets for at, ending in enumerate(rows.texts("ending")) if ending]
    if not found:
        return []
    at, ending, rows = found[0]
    return [
        f"an end token is taken off {len(found)} of {sum(map(len, sets))} answers, such as {ending} off that of row "
        f"{rows[at].id}: the chat template writes it"
    ]


def _unclear_numbers(config: TaskConfig, sets: Collection[Examples]) -> list[str]:
    """How answers that may mean another number were read."""
    if config.kind not in ("number", "regress"):
        return []
    answers = [answer for rows in sets for answer in rows.texts("answer")]
    notes: list[str] = []
    if several := [answer for answer in answers if not holds_one_number(answer)]:
        notes.append(
            f"{len(several)} of {len(answers)} answers hold several numbers, and the last one counts: "
            f"{several[0]!r:.80} reads {read_number(several[0]):g}. Write #### before the one that is meant"
        )
    commas = {decimal: answer for answer in reversed(answers) if (decimal := has_decimal_comma(answer)) is not None}
    if len(commas) == 2:
        notes.append(
            f"the comma is a decimal mark in {commas[True]!r:.80} and parts thousands in {commas[False]!r:.80}. "
            "If that is wrong, write the numbers without thousands marks"
        )
    return notes


@dataclass(frozen=True, slots=True)
class _Marks:
    """What divides the rows of a split, taken in one pass over its examples."""

    keys: np.ndarray  # uint64 (row,) hash of the prompt
    groups: np.ndarray  # uint64 (row,) hash of the document, 0 for none
    answers: Collection[str]  # the different ones of a task with labels

    @classmethod
    def of(cls, examples: Examples, seed: int, labelled: bool, by_row: bool) -> "_Marks":
        keys = (text_hash(text_key(asked), seed) for asked in examples.asked())
        sources = examples.texts("source") if by_row else repeat("")
        named = (group or source[:16] for group, source in zip(examples.texts("group"), sources, strict=False))
        groups = (text_hash(f"group {name}", seed) if name else 0 for name in named)
        size = len(examples)
        answers = set(examples.texts("answer")) if labelled else ()
        return cls(np.fromiter(keys, np.uint64, size), np.fromiter(groups, np.uint64, size), answers)

    def of_rows(self, rows: np.ndarray) -> "_Marks":
        return _Marks(self.keys[rows], self.groups[rows], self.answers)


def _without_cross_split_duplicates(
    marks: Mapping[Split, _Marks], place: str, notes: list[str]
) -> dict[Split, np.ndarray]:
    kept = drop_cross_split_duplicates({split: mark.keys for split, mark in marks.items()})
    for split, rows in kept.items():
        of = len(marks[split].keys)
        if dropped := of - len(rows):
            later = "test" if split == "validation" else "validation or test"
            if not len(rows):
                raise DataError(
                    f"{place}: every {split} row's prompt stands in {later} as well. "
                    f"Give {split} other rows, or put what distinguishes them into the prompt"
                )
            notes.append(f"{split}: {dropped} of {of} rows left out, as their prompt stands in {later} as well")
    return kept


def _divided(
    apart: Mapping[Split, Examples], marks: _Marks, config: TaskConfig, notes: list[str], by_row: bool
) -> Mapping[Split, Examples]:
    """With the splits that have no name carved out of train, whose marks are given."""
    asked: dict[Split, float] = {"validation": config.split.validation, "test": config.split.test}
    shares: dict[Split, float] = {split: share for split, share in asked.items() if split not in apart and share > 0.0}
    if not shares:
        return apart
    place = f"task {config.name!r}"
    if sum(shares.values()) >= 1.0:
        raise DataError(f"{place}: split holds out {sum(shares.values()):g} of the rows. Leave some to train on")
    train = apart["train"]
    parts = carve(marks.keys, marks.groups, shares)
    if empty := [split for split in shares if not len(parts[split])]:
        raise DataError(
            f"{place}: its {len(train)} train rows have too few different prompts (or documents) to carve "
            f"{' and '.join(empty)} from. Give more rows, name data.{empty[0]}, or set split.{empty[0]} to 0"
        )
    counts = " and ".join(f"{len(parts[split])} for {split}" for split in shares)
    by = "row, as other sets read the same file" if by_row and not config.group else "prompt"
    notes.append(f"train: {counts} carved from {len(train)} rows by hash of the {by}")
    return {**apart, **{split: train.select(rows) for split, rows in parts.items()}}


def _limited(examples: Examples, split: Split, config: TaskConfig, seed: int) -> Examples:
    """As many as the limit allows, in their order; a higher limit holds all rows of a lower one."""
    limit: int | None = getattr(config.limit, split)
    if limit is None or len(examples) <= limit:
        return examples
    rows = generator(seed, config.name, split, "limit").permutation(len(examples))[:limit]
    return examples.select(np.sort(rows))
