"""A task: rows become prompts and answers, outputs become values, and values become a score."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, final

from multitune.config.task import Kind, TaskConfig
from multitune.core.errors import TaskError, suggest
from multitune.core.records import Example, Prediction, Score, Shot
from multitune.core.text import normal_form
from multitune.tasks.identity import Ids, content_hash, row_text, source_hashes
from multitune.tasks.metrics import METRICS, RANKINGS, metric_for
from multitune.tasks.output_parsing import (
    NO_LABEL,
    free_text,
    label_lines,
    label_text,
    read_label,
    read_labels,
    read_number,
    read_spans,
    span_lines,
)
from multitune.tasks.row_templates import Row, RowTemplates
from multitune.tasks.shots import shot_chat

CHOSEN = ("classify", "choice")  # kinds whose answer is one of a list, and is picked by likelihood
LABELLED = ("classify", "labels")  # kinds with a label set
LABELLED_SCORES = {"classify": ("accuracy", "macro_f1"), "labels": ("accuracy", "micro_f1", "macro_f1", "jaccard")}


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

    def __init__(self, config: TaskConfig, ends: Collection[str] = (), seed: int = 0) -> None:
        """Compile the templates and find the metric; no row is needed yet.

        Args:
            config: of the task.
            ends: end tokens of the base, which are taken off the end of an answer: the base writes its own.
            seed: with which prompt variants are drawn; the run's.

        Raises:
            TaskError: a template is no valid Jinja, the metric does not exist or suit the kind, or the configuration
                leaves open how rows read (`data.recognition` fills that in by their columns).
        """
        self._place = f"task {config.name!r}"
        if not config.is_complete:
            raise TaskError(f"{self._place}: nothing says how its rows read. Write kind, prompt and answer")
        self.config = config
        self.name = config.name
        self.kind: Kind = config.known_kind
        self.metric = metric_for(config)
        self._templates = RowTemplates(config)
        self._labels = tuple(dict.fromkeys(map(normal_form, config.labels))) if config.labels else None
        self.ends, self.seed = tuple(ends), seed
        self.shots: tuple[Shot, ...] = ()

    @property
    def columns(self) -> tuple[frozenset[str], frozenset[str]]:
        """Columns that the prompt and the answer name; none of a conversation."""
        return self._templates.columns

    @property
    def shows(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names that the prompt and the answer read of a row."""
        return self._templates.shows

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels a task of kind classify or labels knows, from its configuration or from `fit_labels`; else ().

        Raises:
            TaskError: such a task whose labels are not known yet.
        """
        if self.kind not in LABELLED:
            return ()
        if self._labels is None:
            raise TaskError(f"{self._place}: its labels are not known yet. List them under `labels`, or fit the task")
        return self._labels

    def fit_labels(self, seen: Iterable[str]) -> None:
        """Take the labels of training answers as the label set, sorted, unless the configuration gives it."""
        if self.kind in LABELLED and self.config.labels is None:
            self._labels = tuple(sorted({label for answer in seen for label in self.labels_of(answer)}))

    def fit_shots(self, shots: Iterable[Shot]) -> None:
        """Take rows as the shots that stand in front of whatever is asked from now on."""
        self.shots = tuple(shots)

    def variant_of(self, prompt: str, answer: str) -> int:
        """What a training row is asked by: 0 for the prompt itself, else 1 + the place of its variant.

        It follows from the seed and the row's own text, so that neither order nor the number of processes moves it.
        """
        prompts = 1 + len(self.config.prompt_variants)
        return int(content_hash(f"{self.seed} variant {prompt}{answer}"), 16) % prompts if prompts > 1 else 0

    def labels_of(self, answer: str) -> tuple[str, ...]:
        """The labels that an answer of the data names: one (classify), any number of them (labels), none else."""
        if self.kind == "labels":
            return label_lines(answer)
        return (normal_form(answer),) if self.kind == "classify" else ()

    def check_labels(self, examples: Iterable[Example]) -> None:
        """Compare the labels of validation or test examples, made before `fit_labels`, with those known.

        Raises:
            TaskError: a label that no training row carries.
        """
        if self.kind in LABELLED:
            for example in examples:
                self._check_labels(example.answer, f"row with id {example.id!r}")

    def examples(self, rows: Iterable[Row], first: int = 0) -> list[Example]:
        """`render` as a list."""
        return list(self.render(rows, first))

    def render(
        self, rows: Iterable[Row], first: int = 0, seen: Callable[[str], None] | None = None
    ) -> Iterator[Example]:
        """Render the rows of one split, one after the other.

        Args:
            rows: one mapping from column to value per row.
            first: rows that came before these; only the numbers in messages depend on it.
            seen: called with the `row_text` of each row.

        Returns:
            One example per row, and of a conversation one per turn that is learned. A second one with the same id,
            given or from its content, gets `-2` after it.

        Raises:
            TaskError: a template needs a column there is not, or a row gives no prompt or no answer of the kind.
        """
        columns: set[str] = set()
        ids = Ids()

        def noted() -> Iterator[Row]:
            for row in rows:
                columns.update(row)
                yield row

        remaining = noted()
        try:
            for number, row in enumerate(remaining, start=first + 1):
                text = row_text(row)
                if seen is not None:
                    seen(text)
                yield from self._of_row(row, text, f"row {number}", ids)
        except TaskError:
            for _ in remaining:  # that a column stands in no row says more than that this one lacks it
                pass
            if columns:
                self._templates.check(columns)
            raise
        if columns:
            self._templates.check(columns)

    def questions(self, rows: Iterable[Row]) -> list[Example]:
        """What the model is asked for each row, as examples without an answer; the rows need none.

        Raises:
            TaskError: the prompt needs a column there is not, or a row gives none.
        """
        found: list[Example] = []
        for number, row in enumerate(rows, start=1):
            pair = self._templates.question(row, f"row {number}")
            chat = pair.chat or shot_chat(self.shots, pair.prompt)
            found.append(Example(self.name, str(number), pair.prompt, "", "", chat=chat, options=pair.options))
        return found

    def read(self, output: str, options: Sequence[str] = ()) -> Any:
        """What an output says, by the task's kind.

        Args:
            output: of a model.
            options: of the row, for kind choice.

        Returns:
            A label (classify), an option (choice), a tuple of labels (labels), a float (number, regress), a tuple of
            (span, TYPE) (tag) or text (generate); None when it cannot be read, and for kind text, which likelihood
            alone scores.
        """
        match self.kind:
            case "classify":
                return read_label(output, self.labels)
            case "choice":
                return read_label(output, options)
            case "labels":
                return read_labels(output, self.labels)
            case "text":
                return None
            case "number" | "regress":
                return read_number(output)
            case "tag":
                return read_spans(output)
            case "generate":
                return free_text(output)

    def predict(
        self, example: Example, output: str, loss: float | None = None, cut: bool = False, rank: int | None = None
    ) -> Prediction:
        """An output to one example, read and scored.

        Args:
            example: what was asked.
            output: of a model.
            loss: mean over the gold answer's tokens, in nats; the value of kind text follows from it.
            cut: whether the output had not ended.
            rank: of the gold answer among the example's options, which is the value where the metric ranks.
        """
        likelihood = math.exp(-loss) if self.kind == "text" and loss is not None else None
        ranked = rank if self.metric.name in RANKINGS else None
        value = ranked or likelihood or self.read(output, example.options)
        score = self.metric.example(value, example.gold)
        return Prediction(self.name, example.id, output, value, example.gold, score, loss, cut)

    def score(self, predictions: Sequence[Prediction]) -> Score:
        """The task's metric over predictions; one with labels always has accuracy and F1 besides.

        Raises:
            TaskError: there are none, which is not a score of zero.
        """
        if not predictions:
            raise TaskError(f"{self._place}: no predictions to score. Give the split at least one row")
        values = [prediction.value for prediction in predictions]
        golds = [prediction.gold for prediction in predictions]
        extra = {name: METRICS[name].corpus(values, golds) for name in LABELLED_SCORES.get(self.kind, ())}
        return Score(self.metric.name, self.metric.corpus(values, golds), len(predictions), extra)

    def gold(self, answer: str) -> Any:
        """What an answer of the data says, by the task's kind; None where it is no answer of that kind."""
        match self.kind:
            case "number" | "regress":
                return read_number(answer)
            case "tag":
                spans = read_spans(answer)
                return spans if spans is not None and len(spans) == len(span_lines(answer)) else None
            case "labels":
                return label_lines(answer)
            case "classify" | "choice" | "generate" | "text":
                return answer

    def _of_row(self, row: Row, text: str, number: str, ids: Ids) -> Iterator[Example]:
        """The example of a row, or those of its conversation; `text` is the row's as of `row_text`."""
        config = self.config
        given = self._templates.cell(row, config.id, number) if config.id else ""
        where = f"{number} (id {given!r})" if given else number
        group = self._templates.cell(row, config.group, where) if config.group else ""
        source = source_hashes(row, text, self.shows[0])
        for pair in self._templates.pairs(row, where):
            answer, ending = self._without_end(pair.answer, where)
            gold = self._checked_gold(answer, where)
            answer = label_text(gold) if self.kind == "labels" else answer
            id_ = ids.once(given or content_hash(f"{pair.prompt}{answer}"))
            whole = group or pair.conversation
            example = Example(
                self.name, id_, pair.prompt, answer, gold, whole, ending, source, pair.chat, pair.options
            )
            if place := self.variant_of(pair.prompt, answer):
                example = replace(example, variant=self._templates.variant(place - 1, row, where))
            yield example

    def _without_end(self, text: str, where: str) -> tuple[str, str]:
        """An answer, and the end tokens that stood behind it."""
        if self.kind in ("classify", "choice", "labels"):
            text = normal_form(text)
        answer = text
        while end := next(filter(answer.endswith, self.ends), ""):
            answer = answer.removesuffix(end).rstrip()
        if not answer:
            raise TaskError(f"{self._place}: {where} has the answer {text!r}, which says nothing. Correct the row")
        return answer, text[len(answer) :].strip()

    def _checked_gold(self, answer: str, where: str) -> Any:
        gold = self.gold(answer)
        if gold is None:
            lines = self.kind == "tag"
            fault = "; each line must be `span, TYPE`, or the whole `none`" if lines else ", which is no number"
            raise TaskError(f"{self._place}: {where} has the answer {answer!r}{fault}. Correct the row")
        if self.kind == "labels" and any(label.casefold() == NO_LABEL for label in gold):
            raise TaskError(
                f"{self._place}: {where} has the answer {answer!r}: `{NO_LABEL}`, which says that no label applies, "
                "stands beside others. Correct the row"
            )
        if self._labels is not None:
            self._check_labels(answer, where)
        return gold

    def _check_labels(self, answer: str, where: str) -> None:
        label = next((label for label in self.labels_of(answer) if label not in self.labels), None)
        if label is None:
            return
        remedy = (
            "Add it to `labels`, or correct the row"
            if self.config.labels is not None
            else "No training row carries it: list all labels under `labels`, or correct the row"
        )
        raise TaskError(f"{self._place}: {where} has the label {label!r}. {suggest(label, self.labels)}. {remedy}")
