"""Lenient parsing: an output read for what it means, in whatever form, for models that were never taught ours.

Strict parsing (tasks.output_parsing) asks for the form that training taught. A model that saw no training row may
know an answer and miss its form. Lenient parsing looks past markdown, quotes, lead-ins such as "The answer is", talk
around a label, and the style of a list. It knows as little of the right answer as the strict one does.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

from multitune.core.records import Prediction
from multitune.core.text import normal_form
from multitune.tasks.output_parsing import Span, read_label, read_labels, read_number
from multitune.tasks.task import Task

_THOUGHT = re.compile(r"<think>.*?</think>|^.*</think>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LATEX = re.compile(r"\\(?:boxed|text|mathbf|mathrm|textbf)\{((?:[^{}]|\{[^{}]*\})*)\}")
_EMPHASIS = re.compile(r"\*\*|__|(?<!\w)[*_`](?=\S)|(?<=\S)[*_`](?!\w)|`")
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+", re.MULTILINE)
_LEAD_IN = re.compile(
    r"\b(?:answer|label|category|class|classification|sentiment|intent|result|output|prediction)\b"
    r"(?:[^\n.:=]{0,60}?\b(?:is|would be|are)\b[ \t]*:?|[ \t]*[:=])",
    re.IGNORECASE,
)
_OPENING = re.compile(r"^(?:(?:the|my|final|correct|short)\s+)*answer(?:\s+is\b|\s*[:=])\s*:?\s*", re.IGNORECASE)
_QUOTES = "\"'“”‘’«»`"
_BULLET = re.compile(r"^\s*(?:[-*•–+]|\(?\d{1,3}[.)])\s+")
_NONE = re.compile(r"\b(?:none|no (?:\w+ ){0,2}(?:entities|entity|names)|n/a)\b", re.IGNORECASE)
_AFTER = re.compile(r"(?P<text>.*\S)\s*(?:[,:|=–—]|->|→|\s-)\s*[(\[]?(?P<type>[A-Za-z][\w-]*)[)\]]?\.?")
_BEHIND = re.compile(r"(?P<text>.*\S)\s*[(\[]\s*(?:type:\s*)?(?P<type>[A-Za-z][\w-]*)\s*[)\]]\.?", re.IGNORECASE)
_BEFORE = re.compile(r"[(\[]?(?P<type>[A-Za-z][\w-]*)[)\]]?\s*(?:[:|=–—]|->|→|\s-)\s*(?P<text>\S.*)")
_DENIALS = frozenset({"not", "never", "neither", "nor", "isn", "wasn", "aren", "than"})


@final
class LenientReader:
    """Lenient parsing of one task's outputs."""

    def __init__(self, task: Task, golds: Iterable[Any], options: Mapping[str, Sequence[str]] | None = None) -> None:
        """Take what a prompt shows any model: the labels, or the types of entities.

        Args:
            task: its labels are known.
            golds: of training rows; only the types in those of a tag task are looked at.
            options: of the rows of a choice task, by their ids.
        """
        self._task, self._options = task, options or {}
        tags = task.kind == "tag"
        self._types = frozenset(kind for spans in golds for _, kind in spans) if tags else frozenset[str]()

    def read(self, output: str, options: Sequence[str] = ()) -> Any:
        """What an output means: as `Task.read`, None when even so it cannot be read."""
        match self._task.kind:
            case "classify":
                return lenient_label(output, self._task.labels)
            case "choice":
                return lenient_label(output, options)
            case "labels":
                return lenient_labels(output, self._task.labels)
            case "text":
                return None
            case "number" | "regress":
                return lenient_number(output)
            case "tag":
                return lenient_spans(output, self._types)
            case "generate":
                return lenient_text(output)

    def reread(self, predictions: Iterable[Prediction]) -> list[Prediction]:
        """Predictions with their outputs parsed and scored again.

        Gold texts and the names in gold entities pass through the same clean-up as what is compared with them.
        """
        return [self._again(prediction) for prediction in predictions]

    def _again(self, prediction: Prediction) -> Prediction:
        value, gold = self.read(prediction.output, self._options.get(prediction.id, ())), prediction.gold
        if self._task.kind == "generate":
            gold = lenient_text(gold)
        elif self._task.kind == "text":
            value = prediction.value
        elif self._task.kind == "tag":
            gold = tuple((_name(text), kind) for text, kind in gold)
        return replace(prediction, value=value, gold=gold, score=self._task.metric.example(value, gold))


def plain(text: str) -> str:
    """A text without thoughts, code fences, LaTeX boxes, headings and emphasis."""
    text = _FENCE.sub(r"\1", _THOUGHT.sub("", normal_form(text)))
    text = _LATEX.sub(r"\1", text).replace("{,}", ",").replace(r"\$", "$").replace(r"\%", "%")
    return _EMPHASIS.sub("", _HEADING.sub("", text)).strip()


def lenient_label(text: str, labels: Sequence[str]) -> str | None:
    """The label as it stands; else the only one named behind the last lead-in, or else in the whole text.

    A label that is denied ("not", "neither … nor") is not named, nor is one inside a longer one.
    """
    bare = plain(text)
    for candidate in (text, bare):
        if (label := read_label(candidate, labels)) is not None:
            return label
    behind = _behind_lead_in(bare)
    for scope in (behind.partition("\n")[0], re.split(r"[.\n]", behind)[0], bare):
        named = set(_named(scope, labels))
        if len(named) == 1:
            return named.pop()
    return None


def lenient_labels(text: str, labels: Sequence[str]) -> tuple[str, ...] | None:
    """The labels as they stand, one per line; else all that are named behind the last lead-in, or anywhere."""
    bare = plain(text)
    lines = "\n".join(_name(line) for line in bare.splitlines())
    for candidate in (text, lines):
        if (found := read_labels(candidate, labels)) is not None:
            return found
    for scope in (_behind_lead_in(bare).partition("\n\n")[0], bare):
        if named := set(_named(scope, labels)):
            return tuple(sorted(named))
    return () if _NONE.search(bare) or bare == "[]" else None


def _behind_lead_in(text: str) -> str:
    """What follows the last lead-in of a text, or nothing."""
    found = list(_LEAD_IN.finditer(text))
    return text[found[-1].end() :].strip() if found else ""


def _named(text: str, labels: Sequence[str]) -> Iterator[str]:
    """Labels that a text names as whole words, the longest first; a single letter must have its case."""
    raw = re.findall(r"[^\W_]+", text)
    folded = [word.casefold() for word in raw]
    free = [True] * len(raw)
    found: list[tuple[int, str]] = []  # (first word, label)
    by_length = sorted(((re.findall(r"[^\W_]+", label), label) for label in labels), key=lambda pair: -len(pair[0]))
    for parts, label in by_length:
        one_letter = len(parts) == 1 and len(parts[0]) == 1
        words, wanted = (raw, parts) if one_letter else (folded, [part.casefold() for part in parts])
        for start in range(len(words) - len(wanted) + 1) if wanted else ():
            place = slice(start, start + len(wanted))
            if words[place] == wanted and all(free[place]):
                free[place] = [False] * len(wanted)
                found.append((start, label))
    for start, label in found:
        before = range(max(0, start - 2), start)
        words_before = [folded[at] for at in before if all(free[at:start])]  # what stands before another label is its
        if _DENIALS.isdisjoint(words_before):
            yield label


def lenient_number(text: str) -> float | None:
    """The last number in a box, or else behind the last lead-in, or else of the whole; `####` wins over all."""
    if "####" in text:
        return read_number(text)
    bare = plain(text)
    boxes = _LATEX.findall(_THOUGHT.sub("", text))
    for scope in (plain(boxes[-1]) if boxes else "", _behind_lead_in(bare).partition("\n\n")[0], bare):
        if (number := read_number(scope)) is not None:
            return number
    return None


def lenient_text(text: str) -> str | None:
    """A text without code fences, emphasis, a lead-in, quotes around it and its full stop; None when none is left."""
    bare = _OPENING.sub("", plain(text)).strip().rstrip(".!").strip(_QUOTES).rstrip(".!").strip()
    return bare or None


def lenient_spans(text: str, types: Collection[str] = ()) -> tuple[Span, ...] | None:
    """The entities of a list in any usual style: bullets, numbers, tables, JSON, `TYPE: a, b`, or under headings.

    Args:
        text: the output.
        types: the types there are, in capitals; a longer word such as `ORGANIZATION` is taken for the one it begins
            with. Without any, every word counts as a type.

    Returns:
        () where the text says that there are none; None when nothing can be read.
    """
    bare = plain(text)
    found = list(_of_json(bare, types))
    if not found:
        heading = ""
        for line in bare.splitlines():
            stripped = line.strip().strip("|").strip()
            alone = _type(_BULLET.sub("", stripped).rstrip(":").strip(), types) if types else None
            if alone:
                heading = alone
                continue
            spans = list(_of_line(stripped, types))
            if not spans and heading and _BULLET.match(line) and not _NONE.search(line):
                spans = [(_name(stripped), heading)]
            found += spans
    spans = tuple((_name(name), kind) for name, kind in found if _name(name))
    if spans:
        return spans
    return () if _NONE.search(bare) or bare in ("[]", "{}") else None


def _of_line(line: str, types: Collection[str]) -> Iterator[Span]:
    """The entities of one line, with or without `;` between several."""
    if len(pairs := _pairs(line, types)) > 1:
        yield from pairs
        return
    parts = [part for part in line.split(";") if part.strip()] if line.count(";") else [line]
    for part in parts:
        part = _BULLET.sub("", part).strip()
        for pattern in (_BEHIND, _AFTER):
            match = pattern.fullmatch(part)
            if match and (kind := _type(match["type"], types)):
                yield match["text"].rstrip(",:|"), kind
                break
        else:
            match = _BEFORE.fullmatch(part)
            if match and types and (kind := _type(match["type"], types)):
                yield from ((name, kind) for name in match["text"].split(",") if not _NONE.fullmatch(name.strip(" .")))


def _pairs(line: str, types: Collection[str]) -> list[Span]:
    """The entities of a line that is nothing but them, such as `A (ORG), B (PER)` or `A, ORG, B, PER`."""
    kinds = "|".join(rf"{re.escape(kind)}[a-z]*" for kind in types)
    one = rf"\s*(?P<text>\S.*?)\s*(?:[,(\[:]|\s-)\s*(?P<type>{kinds})\s*[)\]]?\s*(?:[,;.]|$)"
    found = list(re.finditer(one, line, re.IGNORECASE)) if types else []
    whole = found and found[0].start() == 0 and found[-1].end() == len(line)
    spans = [(match["text"], _type(match["type"], types)) for match in found]
    return [(text, kind) for text, kind in spans if kind] if whole else []


def _of_json(text: str, types: Collection[str]) -> Iterator[Span]:
    """The entities of a JSON value inside a text: pairs, objects with a name and a type, or lists by type."""
    start, end = re.search(r"[\[{]", text), max(text.rfind("]"), text.rfind("}"))
    if not start or end < start.start():
        return
    try:
        value = json.loads(text[start.start() : end + 1])
    except (ValueError, RecursionError):
        return
    yield from _of_value(value, types)


def _of_value(value: Any, types: Collection[str]) -> Iterator[Span]:
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(part, str) for part in value) and (kind := _type(value[1], types)):
            yield value[0], kind
        else:
            for item in value:
                yield from _of_value(item, types)
    elif isinstance(value, dict):
        words = [(str(key), part) for key, part in value.items()]
        kinds = [kind for _, part in words if isinstance(part, str) and types and (kind := _type(part, types))]
        names = [part for _, part in words if isinstance(part, str) and not (types and _type(part, types))]
        if len(kinds) == 1 and names:
            yield names[0], kinds[0]
            return
        for key, part in words:
            if (kind := _type(key, types)) and types:
                yield from ((str(name), kind) for name in (part if isinstance(part, list) else [part]) if name)
            elif (kind := _type(str(part), types)) and types:
                yield key, kind
            else:
                yield from _of_value(part, types)


def _type(word: str, types: Collection[str]) -> str | None:
    """The type that a word means; one that goes on behind a type's name, such as a plural, means that type."""
    written = word.strip().upper()
    if not types:
        return written if re.fullmatch(r"[A-Z][\w-]*", written) else None
    if written in types:
        return written
    near = [kind for kind in types if len(kind) > 2 and re.fullmatch(rf"{re.escape(kind)}[A-Z]*", written)]
    return near[0] if len(near) == 1 else None


def _name(text: str) -> str:
    """An entity's name without a bullet, quotes or emphasis, white space made single."""
    return " ".join(_BULLET.sub("", _EMPHASIS.sub("", text)).strip().strip(_QUOTES).split())
