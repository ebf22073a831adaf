"""Shapes of rows around one text: with a label, several labels, a score or tags, or alone."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

from multitune.data.shapes import (
    ABOUT,
    LABEL_SETS,
    LABELS,
    LISTED_LABELS,
    LONGEST_LABEL,
    SCORES,
    SEPARATORS,
    TAGS,
    TEXTS,
    WORDS,
    Sample,
    Shape,
    is_text,
)
from multitune.tasks.expressions import column, shown

LEAST_FLAGS = 2  # columns of 0 and 1 that are labels


def labelled(sample: Sample) -> Iterator[Shape]:
    """A text and its label; several columns that could be the label are several shapes."""
    text = sample.first(TEXTS, is_text)
    if text is None:
        return
    found = [name for name in LABELS if name != text and _is_label(sample, name) and not _separator(sample, name)]
    for name in found[:1] if found[:1] == ["label_text"] else found:  # which is `label`, written out
        fields = classify_fields(text, name, sample.classes.get(name, ()))
        yield Shape(f"a {text} with a label in {name}", "classify", frozenset({text, name}), fields)


def labelled_by_sets(sample: Sample) -> Iterator[Shape]:
    """A text and its labels: a list, a text in which they are parted by a sign, or a column of 0 and 1 for each."""
    text = sample.first(TEXTS, is_text)
    if text is None:
        return
    found: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []  # (filter, columns, names of the labels)
    for name in (name for name in LABEL_SETS if name in sample.columns and name != text):
        names = tuple(sample.classes.get(name, ()))
        if names and sample.holds(name, lambda cell: isinstance(cell, list)):
            found.append((f'{column(name)} | labels("", {list(names)!r})', (name,), names))
        elif sample.holds(name, lambda cell: _is_list_of(cell, str) or cell == []):
            found.append((f"{column(name)} | labels", (name,), ()))
        elif separator := _separator(sample, name):
            found.append((f'{column(name)} | labels("{separator}")', (name,), ()))
    if len(flags := _flags(sample, text)) >= LEAST_FLAGS:
        pairs = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {column(name)}" for name in flags)
        found.append((f"{{{pairs}}} | labels", flags, flags))
    for reads, columns, names in found:
        listed = f" Labels: {', '.join(names)}." if 0 < len(names) <= LISTED_LABELS else ""
        prompt = f'Which labels does this text have? Write one per line, or "none".{listed}\n\n{shown(text)}'
        fields: dict[str, Any] = {"prompt": prompt, "answer": f"{{{{ {reads} }}}}"}
        if names:
            fields["labels"] = names
        name = f"a {text} with several labels in {', '.join(columns[:3])}"
        yield Shape(name, "labels", frozenset({text, *columns}), fields)


def _flags(sample: Sample, text: str) -> tuple[str, ...]:
    """The columns beside a text, if each says 0 or 1 for a label of its own; else none."""
    besides = [name for name in sample.columns if name != text and name not in ABOUT and not name.startswith("_")]
    hold = [sample.holds(name, lambda cell: type(cell) in (int, bool) and cell in (0, 1)) for name in besides]
    return tuple(besides) if all(hold) else ()


def _separator(sample: Sample, name: str) -> str:
    """What parts the labels of a column of texts; nothing where each holds one label, or a sentence."""
    if name in sample.classes or not sample.holds(name, is_text):
        return ""
    values: list[str] = sample.values(name)
    for mark in SEPARATORS:
        parts = [part.strip() for value in values for part in value.split(mark)]
        if len(parts) > len(values) and 2 * len(set(parts)) <= len(parts) and max(map(len, parts)) <= LONGEST_LABEL:
            return mark
    return ""


def classify_fields(text: str, answer: str, names: Sequence[str]) -> dict[str, Any]:
    """A task that reads a text and answers its label; `names` are those of classes whose numbers the column holds."""
    fields: dict[str, Any] = {
        "prompt": f"Classify this text. Answer {_asked_label(names)}.\n\n{shown(text)}",
        "answer": f"{{{{ {column(answer)} | named({list(names)!r}) }}}}" if names else shown(answer),
    }
    if names:
        fields["labels"] = tuple(names)
    return fields


def rate_fields(text: str, answer: str) -> dict[str, Any]:
    """A task that reads a text and answers a number."""
    prompt = f"Rate this text by its {answer}. Answer with one number.\n\n{shown(text)}"
    return {"prompt": prompt, "answer": shown(answer)}


def name_labels(prompt: str, labels: Sequence[str]) -> str:
    """A prompt of `labelled` that names the labels, once they are known; another prompt stays as it is."""
    return prompt.replace(f"Answer {_asked_label(())}.", f"Answer {_asked_label(labels)}.", 1)


def _asked_label(names: Sequence[str]) -> str:
    if any("{" in name for name in names):  # it would act in a template
        names = ()
    return f"with one of: {', '.join(names)}" if 0 < len(names) <= LISTED_LABELS else "with its label alone"


def scored(sample: Sample) -> Iterator[Shape]:
    """A text and a number that may lie between others."""
    text = sample.first(TEXTS, is_text)
    name = sample.first(SCORES, lambda cell: isinstance(cell, int | float) and not isinstance(cell, bool))
    if text and name and name not in sample.classes and any(isinstance(cell, float) for cell in sample.values(name)):
        yield Shape(f"a {text} with a number in {name}", "regress", frozenset({text, name}), rate_fields(text, name))


def tagged(sample: Sample) -> Iterator[Shape]:
    """Words, each with a tag of the BIO scheme, as text or as the number of a named class."""
    words = sample.first(WORDS, lambda cell: _is_list_of(cell, str))
    tags = next((name for name in TAGS if name in sample.columns and _are_tags(sample, name)), None)
    if words is None or tags is None:
        return
    names = sample.classes.get(tags, ())
    types = sorted({kind for tag in names if (kind := tag.partition("-")[2])})
    listed = f" Types: {', '.join(types)}." if 0 < len(types) <= LISTED_LABELS else ""
    reads = f"{tags}, {list(names)!r}" if names else column(tags)
    fields = {
        "prompt": 'List the entities of this sentence, one per line as "span, TYPE", or "none".'
        f'{listed}\n\n{{{{ {column(words)} | join(" ") }}}}',
        "answer": f"{{{{ {column(words)} | spans({reads}) }}}}",
    }
    yield Shape(f"{words} with tags in {tags}", "tag", frozenset({words, tags}), fields)


def alone(sample: Sample) -> Iterator[Shape]:
    """One text and nothing else but what is said about it."""
    text = sample.first(TEXTS[:3], is_text)
    if text and all(name in ABOUT or name.startswith("_") for name in sample.columns if name != text):
        yield Shape("plain text", "text", frozenset({text}), {"answer": shown(text)})


def _is_label(sample: Sample, name: str) -> bool:
    """Whether a column holds few different short values."""
    if name in sample.classes:
        return sample.holds(name, lambda cell: type(cell) is int)
    if not sample.holds(name, lambda cell: isinstance(cell, str | int) and len(str(cell)) <= LONGEST_LABEL):
        return False
    values = sample.values(name)
    return 2 * len(set(map(str, values))) <= len(values)


def _are_tags(sample: Sample, name: str) -> bool:
    if name in sample.classes:
        return sample.holds(name, lambda cell: _is_list_of(cell, int))
    if not sample.holds(name, lambda cell: _is_list_of(cell, str)):
        return False
    tags = {tag for cell in sample.values(name) for tag in cell}
    return "O" in tags and all(tag == "O" or tag[1:2] == "-" for tag in tags)


def _is_list_of(cell: Any, kind: type) -> bool:
    items: Sequence[Any] = cast(list[Any], cell) if isinstance(cell, list) else ()
    return bool(items) and all(isinstance(item, kind) for item in items)
