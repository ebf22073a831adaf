"""A task: rows become prompts and answers, outputs become values, and values become a score."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

from multitune.config.schema import TaskConfig
from multitune.core.errors import TaskError, suggest
from multitune.core.records import Example, Prediction, Score
from multitune.core.text import normal_form, text_key
from multitune.tasks.metrics import METRICS, metric_for
from multitune.tasks.output_parsing import free_text, read_label, read_number, read_spans, span_lines
from multitune.tasks.template import Template, is_missing

Row = Mapping[str, Any]
LEAST_TEXT = 24  # characters by which a row is known; two tasks may well ask about the same number or word


@final
class Task:
    """One task of a run, as its configuration describes it.

    >>> colours = multitune.Task(multitune.load_config("run.yaml").tasks[0])
    >>> (example,) = colours.examples([{"text": "w1 w7", "label": "red"}])
    >>> example.prompt, example.answer
    ('say w1 w7', 'red')
    >>> colours.fit_labels(["red", "blue"])
    >>> colours.read(" Red."), colours.read("no colour at all")
    ('red', None)
    """

    def __init__(self, config: TaskConfig, ends: Collection[str] = ()) -> None:
        """Compile the templates and find the metric; no row is needed yet.

        Args:
            config: of the task.
            ends: end tokens of the base, which are taken off the end of an answer: the base writes its own.

        Raises:
            TaskError: a template is no valid Jinja, or the metric does not exist or suit the kind.
        """
        self.config = config
        self.name = config.name
        self.metric = metric_for(config)
        self._place = f"task {config.name!r}"
        self._prompt = Template(config.prompt, f"{self._place}: prompt")
        self._answer = Template(config.answer, f"{self._place}: answer")
        self._labels = tuple(dict.fromkeys(map(normal_form, config.labels))) if config.labels else None
        self.ends = tuple(ends)

    @property
    def shows(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names that the prompt and the answer read of a row."""
        return self._prompt.names, self._answer.names

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels a classify task knows, from its configuration or from `fit_labels`; () for other kinds.

        Raises:
            TaskError: a classify task whose labels are not known yet.
        """
        if self.config.kind != "classify":
            return ()
        if self._labels is None:
            raise TaskError(f"{self._place}: its labels are not known yet. List them under `labels`, or fit the task")
        return self._labels

    def fit_labels(self, seen: Iterable[str]) -> None:
        """Take the labels of the training examples as the label set, sorted, unless the configuration gives it."""
        if self.config.kind == "classify" and self.config.labels is None:
            self._labels = tuple(sorted(set(map(normal_form, seen))))

    def check_labels(self, examples: Iterable[Example]) -> None:
        """Compare the labels of validation or test examples, made before `fit_labels`, with those known.

        Raises:
            TaskError: a label that no training row carries.
        """
        if self.config.kind == "classify":
            for example in examples:
                self._check_label(example.gold, f"row with id {example.id!r}")

    def examples(self, rows: Iterable[Row], first: int = 0) -> list[Example]:
        """`render` as a list."""
        return list(self.render(rows, first))

    def render(self, rows: Iterable[Row], first: int = 0) -> Iterator[Example]:
        """Render the rows of one split, one after the other.

        Args:
            rows: one mapping from column to value per row.
            first: rows that came before these; only the numbers in messages depend on it.

        Returns:
            One example per row. A second row with the same id, given or from its content, gets `-2` after it.

        Raises:
            TaskError: a template needs a column there is not, or a row gives no prompt or no answer of the kind.
        """
        columns: set[str] = set()
        ids = _Ids()

        def noted() -> Iterator[Row]:
            for row in rows:
                columns.update(row)
                yield row

        remaining = noted()
        try:
            for number, row in enumerate(remaining, start=first + 1):
                yield self._example(row, f"row {number}", ids)
        except TaskError:
            for _ in remaining:  # that a column stands in no row says more than that this one lacks it
                pass
            self._check_columns(columns)
            raise
        self._check_columns(columns)

    def _check_columns(self, columns: Collection[str]) -> None:
        """Compare what the templates need with the columns that the rows have."""
        if not columns:
            return
        self._prompt.check(columns)
        self._answer.check(columns)
        for setting, column in (("id", self.config.id), ("group", self.config.group)):
            if column is not None and column not in columns:
                raise TaskError(
                    f"{self._place}: {setting} is {column!r}, which is no column. {suggest(column, sorted(columns))}"
                )

    def prompts(self, rows: Iterable[Row]) -> list[str]:
        """What the model is asked for each row; the rows need no answer.

        Raises:
            TaskError: the prompt needs a column there is not, or a row gives none.
        """
        found: list[str] = []
        for number, row in enumerate(rows, start=1):
            self._prompt.check(row)
            found.append(self._filled(self._prompt, row, f"row {number}"))
        return found

    def read(self, output: str) -> Any:
        """What an output says, by the task's kind.

        Returns:
            A label (classify), a float (number, regress), a tuple of (span, TYPE) (tag) or text (generate); None
            when it cannot be read.
        """
        match self.config.kind:
            case "classify":
                return read_label(output, self.labels)
            case "number" | "regress":
                return read_number(output)
            case "tag":
                return read_spans(output)
            case "generate":
                return free_text(output)

    def predict(self, example: Example, output: str, loss: float | None = None, cut: bool = False) -> Prediction:
        """An output to one example, read and scored; `loss` is the mean over the gold answer's tokens, in nats."""
        value = self.read(output)
        score = self.metric.example(value, example.gold)
        return Prediction(self.name, example.id, output, value, example.gold, score, loss, cut)

    def score(self, predictions: Sequence[Prediction]) -> Score:
        """The task's metric over predictions; a classify task always has accuracy and macro_f1 besides.

        Raises:
            TaskError: there are none, which is not a score of zero.
        """
        if not predictions:
            raise TaskError(f"{self._place}: no predictions to score. Give the split at least one row")
        values = [prediction.value for prediction in predictions]
        golds = [prediction.gold for prediction in predictions]
        besides = ("accuracy", "macro_f1") if self.config.kind == "classify" else ()
        extra = {name: METRICS[name].corpus(values, golds) for name in besides}
        return Score(self.metric.name, self.metric.corpus(values, golds), len(predictions), extra)

    def gold(self, answer: str) -> Any:
        """What an answer of the data says, by the task's kind; None where it is no answer of that kind."""
        match self.config.kind:
            case "number" | "regress":
                return read_number(answer)
            case "tag":
                spans = read_spans(answer)
                return spans if spans is not None and len(spans) == len(span_lines(answer)) else None
            case "classify" | "generate":
                return answer

    def _example(self, row: Row, number: str, ids: "_Ids") -> Example:
        given = self._cell(row, self.config.id, number) if self.config.id else ""
        where = f"{number} (id {given!r})" if given else number
        prompt, (answer, ending) = self._filled(self._prompt, row, where), self._answered(row, where)
        gold = self._checked_gold(answer, where)
        group = self._cell(row, self.config.group, where) if self.config.group else ""
        id_ = ids.once(given or _content_id(prompt, answer))
        return Example(self.name, id_, prompt, answer, gold, group, ending, self._source(row))

    def _source(self, row: Row) -> str:
        """Hashes by which a row is known in the data of other tasks, whatever they ask about it."""
        names = self._prompt.names
        shown = [row[name] for name in row if name in names or "row" in names]
        texts = sorted(text_key(str(value)) for value in shown if isinstance(value, str | list))
        enough = sum(map(len, texts)) >= LEAST_TEXT
        return f"{_hash(json.dumps(row, sort_keys=True, default=str))}{_hash(repr(texts)) if enough else '0' * 16}"

    def _answered(self, row: Row, where: str) -> tuple[str, str]:
        """The answer of a row, and the end tokens that stood behind it."""
        answer = text = self._filled(self._answer, row, where)
        if self.config.kind == "classify":
            answer = text = normal_form(text)
        while end := next(filter(answer.endswith, self.ends), ""):
            answer = answer.removesuffix(end).rstrip()
        if not answer:
            raise TaskError(f"{self._place}: {where} has the answer {text!r}, which says nothing. Correct the row")
        return answer, text[len(answer) :].strip()

    def _filled(self, template: Template, row: Row, where: str) -> str:
        try:
            text = template.render(row)
        except TaskError as error:
            raise TaskError(f"{error} [{where}]") from error
        # The indentation of an answer that is text, such as a line of code, belongs to it.
        kept = template is self._answer and self.config.kind == "generate"
        text = free_text(text) if kept else text.strip()
        part = "prompt" if template is self._prompt else "answer"
        if not text:
            raise TaskError(f"{self._place}: {where} gives an empty {part}. Correct or remove the row")
        if empty := template.lacks(row):
            raise TaskError(
                f"{self._place}: {where} has nothing in {', '.join(empty)}, which is all that the {part} shows. "
                "Correct or remove the row"
            )
        return text

    def _cell(self, row: Row, column: str, where: str) -> str:
        value = row.get(column)
        if is_missing(value):
            raise TaskError(f"{self._place}: {where} has nothing in the column {column!r}. Correct or remove the row")
        return str(value)

    def _checked_gold(self, answer: str, where: str) -> Any:
        gold = self.gold(answer)
        if gold is None:
            lines = self.config.kind == "tag"
            fault = "; each line must be `span, TYPE`, or the whole `none`" if lines else ", which is no number"
            raise TaskError(f"{self._place}: {where} has the answer {answer!r}{fault}. Correct the row")
        if self.config.kind == "classify" and self._labels is not None:
            self._check_label(answer, where)
        return gold

    def _check_label(self, label: str, where: str) -> None:
        if label in self.labels:
            return
        remedy = (
            "Add it to `labels`, or correct the row"
            if self.config.labels is not None
            else "No training row carries it: list all labels under `labels`, or correct the row"
        )
        raise TaskError(f"{self._place}: {where} has the label {label!r}. {suggest(label, self.labels)}. {remedy}")


def _content_id(prompt: str, answer: str) -> str:
    return _hash(f"{prompt}{answer}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@final
class _Ids:
    """Ids not used before: the second `a` becomes `a-2`. Of an id, only eight bytes of its hash are kept."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._times: dict[str, int] = {}  # of those that came more than once

    def once(self, id_: str) -> str:
        key = int.from_bytes(hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        if key not in self._used:
            self._used.add(key)
            return id_
        self._times[id_] = self._times.get(id_, 1) + 1
        return self.once(f"{id_}-{self._times[id_]}")
