"""contradictions: the same text with different labels, within a set and across sets that share their labels."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.rows import Rows, excerpt, read_rows, shortened
from multitune.core.results.audit import Excerpt, Finding
from multitune.core.text import text_key

NAME = "contradictions"
TEXTS_SHOWN = 3
ROWS_SHOWN = 2  # of each text


def _find(audited: Audited) -> Iterator[Found]:
    rows = read_rows(audited)
    for number, one in enumerate(audited.sets):
        if one.kind != "generate":  # a question may have several good texts as answers, but one label
            yield from _finding(audited, rows, (number,))
        audited.advance(sum(one.sizes().values()))
    for pair in combinations(range(len(audited.sets)), 2):
        if _share_labels(*(audited.sets[number] for number in pair)):
            yield from _finding(audited, rows, pair)


def _share_labels(one: AuditSet, other: AuditSet) -> bool:
    if one.kind != "classify" or other.kind != "classify":
        return False
    return set(map(text_key, one.task.labels)) == set(map(text_key, other.task.labels))


def _finding(audited: Audited, rows: Rows, numbers: tuple[int, ...]) -> Iterator[Finding]:
    chosen = np.flatnonzero(np.isin(rows.set, numbers))
    _, text = np.unique(rows.shown[chosen], return_inverse=True)
    pairs = np.unique(np.stack([text.astype(np.uint64), rows.answer[chosen]]), axis=1)
    several = np.bincount(pairs[0].astype(np.int64)) > 1
    if len(numbers) > 1:  # only what the sets say against each other: each of them alone is consistent about it
        several &= _consistent(text, rows, chosen, numbers)
    unclear = several[text]
    least, count = audited.thresholds["share"], int(unclear.sum())
    if not count or count / len(chosen) < least:
        return
    names = [audited.sets[number].name for number in numbers]
    texts = int(several.sum())
    is_one = len(numbers) == 1
    where = f"rows of {names[0]}" if is_one else f"rows of {names[0]} and {names[1]}"
    how = "have different answers" if is_one else "have one answer here and another there"
    yield Finding(
        check=NAME,
        severity="high" if count / len(chosen) >= audited.thresholds["high"] else "medium",
        sets=tuple(sorted(names)),
        message=f"{count} of {len(chosen)} {where} contradict each other: {texts} texts {how}",
        remedy="Correct the labels, or put into the prompt what tells these rows apart.",
        rows=count,
        of=len(chosen),
        value=count / len(chosen),
        threshold=least,
        examples=_examples(audited, rows, chosen[unclear], text[unclear]),
    )


def _consistent(text: np.ndarray, rows: Rows, chosen: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """Whether each set has one answer for a text, and has it at all, bool (text,)."""
    found = np.ones(int(text.max()) + 1 if len(text) else 0, dtype=bool)
    for number in numbers:
        own = rows.set[chosen] == number
        pairs = np.unique(np.stack([text[own].astype(np.uint64), rows.answer[chosen][own]]), axis=1)
        found &= np.bincount(pairs[0].astype(np.int64), minlength=len(found)) == 1
    return found


def _examples(audited: Audited, rows: Rows, unclear: np.ndarray, text: np.ndarray) -> tuple[Excerpt, ...]:
    """The first texts, each with rows that answer differently."""
    shown: list[Excerpt] = []
    for one in list(dict.fromkeys(text.tolist()))[:TEXTS_SHOWN]:
        alike = unclear[text == one]
        _, different = np.unique(rows.answer[alike], return_index=True)
        for row in alike[np.sort(different)][:ROWS_SHOWN].tolist():
            found = excerpt(audited, rows, row)
            answer = audited.sets[int(rows.set[row])].rows(found.split)[int(rows.place[row])].answer
            shown.append(found.model_copy(update={"text": f"{shortened(answer)}: {found.text}"}))
    return tuple(shown)


CHECKS = (
    Check(
        name=NAME,
        title="one text with several labels",
        find=_find,
        thresholds={
            "share": Threshold(0.0, "of two labels of one text, one is wrong, so a single pair is worth a look"),
            "high": Threshold(
                0.01, "from one row in a hundred on, no model can come closer than a point to all right"
            ),
        },
    ),
)
