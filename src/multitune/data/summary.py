"""What the rows of one set look like, and what about them would surprise their owner."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np

from multitune.core.records import SPLITS, Example, Segments, Split
from multitune.core.results.data import DataSummary, LabelCount, LengthBin, Piece, PromptCount, ShownRow
from multitune.core.text import likely_cut, text_key, without_invisible
from multitune.data.control_tokens import control_texts
from multitune.data.shapes import SEPARATORS
from multitune.data.task_input import TaskInput
from multitune.data.tokenizer import ChatFormat
from multitune.tasks.output_parsing import NO_LABEL
from multitune.tasks.task import LABELLED

LOOKED_AT = 200_000  # training rows whose texts are compared
RARE = 3  # training rows of a label
BINS = 8
ERRORS = ("#n/a", "#name?", "#null!", "#num!", "#ref!", "#value!", "#div/0!")  # of a spreadsheet
MISSING = frozenset({"nan", "na", "n/a", "none", "null", "nil", "?", "-", "unknown", *ERRORS})


def summarise(item: TaskInput, chat: ChatFormat) -> DataSummary:
    """The data of one set."""
    rows = list(islice(item.data.examples["train"], LOOKED_AT))
    labels = label_counts(item)
    tokens = item.tokens["train"]
    sizes = np.diff(tokens.offsets[::2])
    order = np.argsort(sizes, kind="stable").tolist()
    places = (order[len(order) // 2], order[0], order[-1]) if order else ()
    shown = [_shown(item, chat, place) for place in places] or [None] * 3
    pairs = Counter((text_key(row.prompt), text_key(row.answer)) for row in rows)
    return DataSummary(
        name=item.name,
        labels=labels,
        example=shown[0],
        shortest=shown[1],
        longest=shown[2],
        lengths=_bins(sizes),
        prompts=_prompts(item),
        duplicates=len(rows) - len(pairs),
        warnings=(*_label_warnings(labels, item.data.task.kind == "labels"), *_text_warnings(item, rows, pairs)),
    )


def label_counts(item: TaskInput) -> tuple[LabelCount, ...]:
    """The labels of a task that has some, the most frequent first; `none` are rows of kind labels without any."""
    task = item.data.task
    if task.kind not in LABELLED:
        return ()
    counts: dict[Split, Counter[str]] = {
        split: Counter(
            label for row in item.data.examples[split] for label in task.labels_of(row.answer) or [NO_LABEL]
        )
        for split in SPLITS
    }
    bare = [NO_LABEL] if task.kind == "labels" and any(counts[split][NO_LABEL] for split in SPLITS) else []
    found = [
        LabelCount(label=label, rows={split: counts[split][label] for split in SPLITS})
        for label in (*task.labels, *bare)
    ]
    return tuple(sorted(found, key=lambda one: -sum(one.rows.values())))


def _prompts(item: TaskInput) -> tuple[PromptCount, ...]:
    """How many training rows are asked by each prompt of a task that has several."""
    task = item.data.task
    if not task.config.prompt_variants:
        return ()
    counts = Counter(task.variant_of(row.prompt, row.answer) for row in item.data.examples["train"])
    prompts = (task.config.prompt, *task.config.prompt_variants)
    return tuple(PromptCount(prompt=prompt, rows=counts[number]) for number, prompt in enumerate(prompts))


def _shown(item: TaskInput, chat: ChatFormat, place: int) -> ShownRow:
    tokens = item.tokens["train"]
    row = tokens[place]
    example = item.data.examples["train"][int(tokens.kept[place])]
    return ShownRow(id=example.id, tokens=len(row.tokens), pieces=tuple(_pieces(row, chat)))


def _pieces(row: Segments, chat: ChatFormat) -> Iterator[Piece]:
    numbers: Any = chat.tokenizer.convert_tokens_to_ids(list(control_texts(chat.tokenizer)))
    control: set[int] = set(numbers)
    marked = [(token in control, at >= len(row.prompt), token) for at, token in enumerate(row.tokens.tolist())]
    for (is_control, loss), group in groupby(marked, key=lambda one: one[:2]):
        text = chat.tokenizer.decode([token for *_, token in group], skip_special_tokens=False)
        yield Piece(text=str(text), control=is_control, loss=loss)


def _bins(sizes: np.ndarray) -> tuple[LengthBin, ...]:
    if not len(sizes):
        return ()
    edges = np.unique(np.linspace(sizes.min() - 1, sizes.max(), BINS + 1).astype(np.int64))
    counts = np.histogram(sizes, np.append(edges[:-1] + 0.5, edges[-1] + 0.5))[0]
    return tuple(LengthBin(up_to=int(top), rows=int(n)) for top, n in zip(edges[1:], counts, strict=True))


def _label_warnings(labels: Sequence[LabelCount], in_sets: bool) -> Iterator[str]:
    if in_sets:
        labels = [one for one in labels if one.label != NO_LABEL]
    names = [one.label for one in labels]
    if not in_sets and (mark := _separator(names)):
        yield (
            f"labels look like several in one, such as {next(name for name in names if mark in name)!r}. Where they "
            f'are, write `kind: labels` and `| labels("{mark}")` behind the column of the answer'
        )
    if len(names) == 1 and not in_sets:
        yield f"every answer is {names[0]!r}: there is nothing to tell apart. Check the column of the answer"
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(_folded(name), []).append(name)
    for alike in folded.values():
        if len(alike) > 1:
            shown = ", ".join(map(repr, alike[:8]))
            yield f"{len(alike)} labels may be one and the same: {shown}. Write them alike, or list `labels`"
    if empty := [name for name in names if name.casefold() in MISSING]:
        yield f"labels look like missing values: {', '.join(map(repr, empty[:8]))}. Take such rows out if they are"
    if rare := [one.label for one in labels if one.rows["train"] < RARE and len(names) > 1]:
        shown = ", ".join(map(repr, rare[:8]))
        yield f"{len(rare)} of {len(names)} labels have fewer than {RARE} training rows, such as {shown}"


def _separator(labels: Sequence[str]) -> str | None:
    """What parts labels that are made of others of these."""
    for mark in SEPARATORS:
        together = [[part.strip() for part in label.split(mark)] for label in labels if mark in label]
        parts = [part for several in together for part in several]
        known = {label for label in labels if mark not in label}
        if len(together) > 1 and (set(parts) <= known or 2 * len(set(parts)) <= len(parts)):
            return mark
    return None


def _folded(label: str) -> str:
    """A label without case, width, signs and the way a number or a truth value is written."""
    seen = without_invisible(unicodedata.normalize("NFKC", label))
    bare = " ".join(re.findall(r"[^\W_]+(?:\.\d+)?", text_key(seen))) or seen
    truth: Mapping[str, str] = {"true": "1", "false": "0"}
    return re.sub(r"\.0+$", "", truth.get(bare, bare))


def _text_warnings(item: TaskInput, rows: Sequence[Example], pairs: Counter[tuple[str, str]]) -> Iterator[str]:
    task, of = item.data.task, len(rows)
    if not of:
        return
    for part, names in (("prompt", task.shows[0]), ("answer", task.shows[1])):
        if not names:
            yield f"the {part} shows no column: it is the same for every row"
    answers: dict[str, set[str]] = {}
    for prompt, answer in pairs:
        answers.setdefault(prompt, set()).add(answer)
    if task.kind != "text" and (unclear := {prompt for prompt, several in answers.items() if len(several) > 1}):
        first = next(row for row in rows if text_key(row.prompt) in unclear)
        yield f"{len(unclear)} prompts have several answers in training rows, such as that of row {first.id}"
    if doubled := of - len(pairs):
        yield f"{doubled} of {of} training rows are copies of others"
    if ended := [row for row in rows if any(stop in row.answer for stop in task.config.stop)]:
        yield (
            f"{len(ended)} training answers hold a stop string, such as that of row {ended[0].id}: an answer "
            "generated like them ends before it. Take the string out of `stop`, or such rows out of the data"
        )
    if task.kind == "generate":
        repeats = [row for row in rows if len(row.answer) > 1 and text_key(row.answer) == text_key(row.prompt)]
        if repeats:
            yield f"{len(repeats)} answers repeat their prompt, such as that of row {repeats[0].id}"
    for part, texts in (("prompt", [row.prompt for row in rows]), ("answer", [row.answer for row in rows])):
        if cut := likely_cut(list(map(len, texts))):
            longest = max(map(len, texts))
            yield f"{cut} {part}s have exactly {longest} characters, and none has more: the source may have cut them"
