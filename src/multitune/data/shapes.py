"""Shapes of rows that many data sets share: each tells by columns and first values whether rows have it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from multitune.config.task import Kind
from multitune.data.formats import Row
from multitune.tasks.conversation import is_conversation
from multitune.tasks.expressions import column, optional, shown
from multitune.tasks.filters import is_missing

LABEL_SETS = (
    "label_names",
    "labels",
    "tags",
    "genres",
    "genre",
    "topics",
    "categories",
    "keywords",
    "emotions",
    "label",
)
TEXTS = ("text", "sentence", "content", "review", "tweet", "comment", "utterance", "message", "query", "document")
LABELS = ("label_text", "label", "labels", "category", "intent", "class", "sentiment", "emotion", "topic", "target")
SCORES = ("score", "rating", *LABELS)
INPUTS, OUTPUTS = ("input", "context"), ("output", "response", "completion", "answer")
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("input", "output"),
    ("input", "target"),
    ("source", "target"),
)
WORDS, TAGS = ("tokens", "words"), ("ner_tags", "tags", "labels", "bio_tags", "entities")
QUESTIONS = ("question", "query", "prompt", "ctx", "goal", "sentence", "premise", "context")
SEPARATORS = (";", "|", ",")  # of several labels in one text
OPTIONS = ("choices", "options", "endings")
OPTION_COLUMNS = (
    tuple("ABCDE"),
    tuple("ABCD"),
    tuple("ABC"),
    ("sol1", "sol2"),
    *(
        tuple(f"{name}{number}" for number in range(1, last + 1))
        for name in ("option", "choice")
        for last in (4, 3, 2)
    ),
)
ANSWERS = ("answer", "answerKey", "answer_key", "answer_idx", "answer_index", "label", "gold", "correct", "target")
# Columns that say something about a text and are no part of it.
ABOUT = {"id", "idx", "url", "source", "timestamp", "date", "title", "meta", "metadata", "lang", "language", "author"}
LONGEST_LABEL = 80  # characters
LISTED_LABELS = 24  # as many as a prompt lists


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows of one shape read, as fields of a task."""

    name: str
    kind: Kind
    columns: frozenset[str]  # that it reads
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """The first rows of a set."""

    rows: Sequence[Row]
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])  # names, by column

    @cached_property
    def columns(self) -> list[str]:
        """All columns, in the order in which they appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def values(self, name: str) -> list[Any]:
        """What a column holds, without rows that have nothing there."""
        return [row[name] for row in self.rows if not is_missing(row.get(name)) and row[name] != []]

    def holds(self, name: str, test: Callable[[Any], bool]) -> bool:
        """Whether a column is there and all that it holds passes a test."""
        return name in self.columns and bool(values := self.values(name)) and all(map(test, values))

    def first(self, names: Sequence[str], test: Callable[[Any], bool]) -> str | None:
        """The first of some columns of which all that they hold passes a test."""
        return next((name for name in names if self.holds(name, test)), None)


def is_text(value: Any) -> bool:
    """Whether a cell is a text."""
    return isinstance(value, str)


def conversations(sample: Sample) -> Iterator[Shape]:
    """Turns with role and content (OpenAI) or from and value (ShareGPT), also as prompt and completion (TRL)."""
    found = [name for name in sample.columns if sample.holds(name, is_conversation)]
    tools = "tools" if "tools" in sample.columns else None
    if {"prompt", "completion"} <= set(found):
        reads, names, fields = "prompt + completion", {"prompt", "completion"}, {"turns": "last"}
        yield _conversation(reads, names, fields, tools)
        return
    for name in found:
        reads, names = column(name), {name}
        if sample.holds("system", is_text):
            reads = f'([{{"role": "system", "content": system}}] if system | default("") else []) + {reads}'
            names = {name, "system"}
        yield _conversation(reads, names, {}, tools)


def _conversation(reads: str, names: set[str], fields: dict[str, Any], tools: str | None) -> Shape:
    optional_fields = {**fields, **({"tools": f"{tools} | default([])"} if tools else {})}
    columns = frozenset(names | ({tools} if tools else set()))
    return Shape("conversations", "generate", columns, {"messages": reads, **optional_fields})


def instructions(sample: Sample) -> Iterator[Shape]:
    """Alpaca: an instruction, an input that may be empty, and the output."""
    answer = sample.first(OUTPUTS, is_text)
    if answer and sample.holds("instruction", is_text):
        given = [name for name in INPUTS if name in sample.columns]
        prompt = shown("instruction") + "".join(optional(name, before="\n\n") for name in given)
        columns = frozenset(["instruction", answer, *given])
        yield Shape("instructions (Alpaca)", "generate", columns, {"prompt": prompt, "answer": shown(answer)})


def pairs(sample: Sample) -> Iterator[Shape]:
    """A column for what is asked and one for what is answered; a question may have a context."""
    for asked, answered in PAIRS:
        if sample.holds(asked, is_text) and sample.holds(answered, is_text):
            context = asked == "question" and sample.holds("context", is_text)
            prompt = optional("context", after="\n\n") + shown(asked) if context else shown(asked)
            columns = frozenset((asked, answered, "context") if context else (asked, answered))
            fields = {"prompt": prompt, "answer": shown(answered)}
            yield Shape(f"pairs of {asked} and {answered}", "generate", columns, fields)


def choices(sample: Sample) -> Iterator[Shape]:
    """Multiple choice: a question, its options, and which of them is right, by number, letter or text."""
    asked = sample.first(QUESTIONS, is_text)
    options, names, labels = _options(sample)
    if asked is None or not options:
        return
    for name in ANSWERS:
        if name in sample.columns and name not in names and (answer := _chosen(sample, name, options, labels)):
            lines = f"{{% for one in {options} %}}\n- {{{{ one }}}}\n{{% endfor %}}"
            prompt = f"{shown(asked)}\n\n{lines}\n\nAnswer with one of these options."
            fields = {"prompt": prompt, "answer": answer, "options": options}
            yield Shape("multiple choice", "choice", frozenset([asked, name, *names]), fields)
            return


def _options(sample: Sample) -> tuple[str, tuple[str, ...], str]:
    """(expression for the options, columns that it reads, expression for their letters if they have some)."""
    for name in OPTIONS:
        if sample.holds(name, lambda cell: isinstance(cell, list) and all(map(is_text, cast(list[Any], cell)))):
            return column(name), (name,), ""
        if sample.holds(name, lambda cell: isinstance(cell, Mapping) and {"text", "label"} <= set(cell)):
            return f"{name}.text", (name,), f"{name}.label"
        if sample.holds(name, lambda cell: isinstance(cell, Mapping) and all(map(is_text, cell.values()))):
            return f"{name}.values() | list", (name,), f"({name}.keys() | list)"
    for names in OPTION_COLUMNS:
        if all(sample.holds(name, is_text) for name in names):
            return f"[{', '.join(map(column, names))}]", names, ""
    return "", (), ""


def _chosen(sample: Sample, name: str, options: str, labels: str) -> str:
    """Jinja for the text of the right option; nothing where the values of a column name none for sure."""
    values = [str(value).strip() for value in sample.values(name) if not isinstance(value, bool)]
    if not values:
        return ""
    bare = options if options.startswith("[") or "|" not in options else f"({options})"
    if labels and not all(value.isdecimal() for value in values):
        return f"{{{{ {bare}[{labels}.index({column(name)})] }}}}"
    if all(len(value) == 1 and value.isascii() and value.isalpha() for value in values):
        return f"{{{{ {bare} | option({column(name)}) }}}}"
    numbers = [int(value) for value in values if value.removeprefix("-").isdecimal()]
    if len(numbers) < len(values):
        return shown(name)
    sizes = [_count(row, options) for row in sample.rows]
    if 0 in numbers or name in sample.classes:
        return f"{{{{ {bare} | option({column(name)}) }}}}"
    return f"{{{{ {bare} | option({column(name)}, 1) }}}}" if max(numbers) >= max(sizes) else ""


def _count(row: Row, options: str) -> int:
    if options.startswith("["):
        return options.count(",") + 1
    cell: Any = row.get(options.partition(".")[0].partition(" ")[0]) or ()
    return len(cell["text"] if options.endswith(".text") else cell)
