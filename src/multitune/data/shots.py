"""Which rows of a set are shown with their answers in front of all others: drawn once it is divided, or as given."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from multitune.core.errors import DataError
from multitune.core.records import SPLITS, Example, Shot, Split
from multitune.core.text import text_key
from multitune.data.examples import Examples
from multitune.data.splits import text_hash
from multitune.data.taskdata import TaskData

CANDIDATES = 200  # rows looked at for each shot, for answers that were not shown yet


def with_shots(data: TaskData, seed: int) -> TaskData:
    """A set whose task has its shots, without the rows that they are: none is trained on or tested behind itself.

    They come from training rows, or, of a set that has none, from those that are asked. By hash of seed and text, so
    that the order of rows moves none; the next one is of an answer that was shown least.

    Args:
        data: with the splits as they are used.
        seed: the run's.

    Raises:
        DataError: it has too few rows, or a shot that was given is a held-out row.
        TaskError: a shot that was given does not fit the templates or the labels.
    """
    task, asked = data.task, data.task.config.shots
    if not asked:
        return data
    place = f"task {task.name!r}: shots"
    filled: list[Split] = [split for split in SPLITS if len(data.examples[split])]
    source = filled[0]
    rows = data.examples[source]
    assert isinstance(rows, Examples), "a set has rows"
    keys = _keys(rows, seed)
    if isinstance(asked, int):
        places = _drawn(rows, keys, asked)
        if len(places) < asked or np.isin(keys, keys[places]).all():
            raise DataError(f"{place} is {asked}, and it has {len(rows)} {source} rows. Give more rows, or ask fewer")
        shots = [rows[place] for place in places]
        origin = f"drawn from {source} ({', '.join(shot.id for shot in shots)})"
    else:
        shots = task.examples(asked)
        _require_free(data, shots, place)
        origin = "as the run file gives them"
    task.fit_shots(Shot(shot.id, shot.prompt, shot.answer) for shot in shots)
    kept = np.flatnonzero(~np.isin(keys, [_key(shot, seed) for shot in shots]))
    if not len(kept):
        raise DataError(f"{place} are all {source} rows. Give more rows, or fewer shots")
    note = (
        f"{len(shots)} shots, {origin}, stand in front of every row; {len(rows) - len(kept)} {source} rows are these"
    )
    return replace(data, examples={**data.examples, source: rows.select(kept)}, notes=[*data.notes, note])


def _key(shot: Example, seed: int) -> int:
    return text_hash(f"shot {text_key(shot.prompt)}", seed)


def _keys(rows: Examples, seed: int) -> np.ndarray:
    """uint64 (row,)"""
    return np.fromiter((text_hash(f"shot {text_key(text)}", seed) for text in rows.asked()), np.uint64, len(rows))


def _drawn(rows: Examples, keys: np.ndarray, count: int) -> list[int]:
    """Places of so many rows with different prompts; fewer where there are none left."""
    _, first = np.unique(keys, return_index=True)  # by key, the first row of each prompt
    waiting = first[: CANDIDATES * count].tolist()
    answers = {place: rows[place].answer for place in waiting}
    shown: Counter[str] = Counter()
    chosen: list[int] = []
    while waiting and len(chosen) < count:
        best = min(waiting, key=lambda place: shown[answers[place]])  # the first of equals
        waiting.remove(best)
        chosen.append(best)
        shown[answers[best]] += 1
    return chosen


def _require_free(data: TaskData, shots: Sequence[Example], place: str) -> None:
    """Refuse shots that are held out."""
    given = {text_key(shot.prompt): shot for shot in shots}
    for split in SPLITS:
        rows = data.examples[split]
        if split == "train" or not isinstance(rows, Examples):
            continue
        if held := next((given[key] for key in map(text_key, rows.asked()) if key in given), None):
            raise DataError(
                f"{place}: {held.prompt!r:.80} is a row of {split}, which would be asked behind its own answer. Give "
                "other rows, or a number to draw from training rows"
            )
