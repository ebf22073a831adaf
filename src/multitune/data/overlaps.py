"""Rows that several sets of a run share: none is trained on by one while another holds it out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from multitune.config.schema import OverlapRule
from multitune.core.errors import DataError
from multitune.core.records import SPLITS, Split
from multitune.core.text import text_key
from multitune.data.examples import Examples
from multitune.data.splits import text_hash
from multitune.data.taskdata import TaskData

HELD_OUT = SPLITS[1:]


def without_held_out(sets: Sequence[TaskData], rule: OverlapRule) -> list[TaskData]:
    """The sets without the training rows that another of them holds out for validation or test.

    A row is the same where its prompt is; or, if its prompt shows enough text of it, that text or all its columns.

    Args:
        sets: tasks and general sets of one run.
        rule: `drop` takes such rows out and notes how many, `refuse` is an error, `allow` notes them and trains.

    Raises:
        DataError: `refuse` and there are some, or nothing is left to train on.
    """
    if len(sets) < 2:
        return list(sets)
    held: list[dict[Split, np.ndarray]] = [{split: _keys(data, split) for split in HELD_OUT} for data in sets]
    return [_kept(data, {o.task.name: held[i] for i, o in enumerate(sets) if o is not data}, rule) for data in sets]


def require_shots_free(sets: Sequence[TaskData], rule: OverlapRule) -> None:
    """Refuse shots of a run file that another set holds out: what is shown with its answer is no test any more.

    Args:
        sets: tasks and general sets of one run.
        rule: `allow` lets them through.

    Raises:
        DataError: there is one.
    """
    given = {data.task.name: data.task.config.shots for data in sets if isinstance(data.task.config.shots, tuple)}
    if rule == "allow" or not given or len(sets) < 2:
        return
    for data in (data for data in sets if data.task.name in given):
        shots = data.task.examples(given[data.task.name])
        keys = np.array([_key(shot.asked, shot.source) for shot in shots], dtype=np.uint64)
        held = [(other, split, _keys(other, split)) for other in sets if other is not data for split in HELD_OUT]
        for other, split, others in held:
            if (found := _same(keys, others)).any():
                shot = shots[int(np.argmax(found))]
                raise DataError(
                    f"task {data.task.name!r}: shots: {shot.prompt!r:.80} is a row of {split} of {other.task.name}, "
                    "which would be asked of a model that was shown its answer. Give other rows, a number to draw "
                    "from training rows, or set cross_task_duplicates: allow"
                )


def _keys(data: TaskData, split: Split) -> np.ndarray:
    """uint64 (row, 3): the `_key` of each row."""
    examples = data.examples[split]
    if not isinstance(examples, Examples):
        return np.zeros((0, 3), dtype=np.uint64)
    keys = np.zeros((len(examples), 3), dtype=np.uint64)
    for row, (asked, source) in enumerate(zip(examples.asked(), examples.texts("source"), strict=True)):
        keys[row] = _key(asked, source)
    return keys


def _key(asked: str, source: str) -> tuple[int, int, int]:
    """Hashes of prompt, columns and shown text, each 0 where there is none."""
    shown = int(source[16:], 16)
    return text_hash(text_key(asked), 0), int(source[:16], 16) if shown else 0, shown


def _kept(data: TaskData, held: Mapping[str, Mapping[Split, np.ndarray]], rule: OverlapRule) -> TaskData:
    """One set, against the rows that the others hold out."""
    train = data.examples["train"]
    if not isinstance(train, Examples) or not len(train):
        return data
    keys = _keys(data, "train")
    shared = np.zeros(len(keys), dtype=bool)
    where: list[str] = []
    for name, splits in held.items():
        for split, others in splits.items():
            found = _same(keys, others)
            if found.any():
                where.append(f"{int(found.sum())} in {split} of {name}")
            shared |= found
    if not shared.any():
        return data
    first = train[int(np.flatnonzero(shared)[0])].id
    facts = f"{int(shared.sum())} of {len(train)} train rows are held out by another set ({', '.join(where)})"
    place = f"task {data.task.name!r}"
    if rule == "refuse":
        raise DataError(f"{place}: {facts}, such as row {first}. Take them out, or set cross_task_duplicates: drop")
    if rule == "allow":
        return replace(data, notes=[*data.notes, f"{facts}, and are trained on all the same"])
    if shared.all():
        raise DataError(
            f"{place}: {facts}, so that none is left to train on. Give it other rows, name the same splits for all "
            "sets, or set cross_task_duplicates: allow"
        )
    kept = train.select(np.flatnonzero(~shared))
    note = f"{facts} and left out, such as row {first}"
    return replace(
        data,
        examples={**data.examples, "train": kept},
        notes=[*data.notes, note],
        held_elsewhere=int(shared.sum()),
    )


def _same(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each row is one of the others, bool (row,)."""
    columns = range(keys.shape[1])
    alike = [np.isin(keys[:, i], others[:, i]) & (keys[:, i] > 0) for i in columns]
    return np.logical_or.reduce(alike)
