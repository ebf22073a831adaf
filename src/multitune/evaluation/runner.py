"""Every adapter answers the rows of its tasks; the answers, the scores and the verdicts go into the run folder.

scores.json holds, with losses in nats per answer token::

    {"split": "test", "confidence": 0.95, "resamples": 1000,
     "tasks": {TASK: {"kind", "metric", "scores": {SUBJECT: {"score", "examples", "loss", "extra": {METRIC: value}}}}},
     "transfer": {ADAPTER: {"tasks": [{"against": "alone" or "base", "reference": SUBJECT,
                                       and the fields of transfer.TaskTransfer}],
                            "summary": {the fields of transfer.TransferSummary}}},
     "general": {SET: {"examples", "loss": {SUBJECT: mean over the rows}}},
     "retention": {SET: {"kind", "metric", "examples", "scores": as of a task,
                         "change": {ADAPTER: {"difference", "low", "high", "p"}}}}}

A SUBJECT is `base` or an adapter. Each adapter of several tasks has a transfer table; in a run without one, every
adapter has. A row of it compares the adapter with the one that learned this task alone, the first of them in the run
file; where there is none, with the base, and `alone` is null. General sets are no tasks: the loss on them, before (by
`base`) and after (by each adapter with a table), shows what was kept. So do the retention sets, which nothing trains
on: they are scored like tasks, by the same subjects, and `change` compares an adapter with the base; p is unadjusted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from multitune.config.schema import RecipeConfig
from multitune.core.errors import MultituneError, RunFolderError
from multitune.core.records import Prediction, Segments, Split
from multitune.core.rundir import RunFolder, read_json, write_json, write_text
from multitune.core.seeds import generator
from multitune.data.tokenizer import ChatFormat
from multitune.evaluation.generate import GenerateOptions, generate
from multitune.evaluation.labels import answer_losses, score_labels
from multitune.evaluation.stats import BootstrapPlan
from multitune.evaluation.transfer import Arms, compare
from multitune.model.bank import BASE, AdapterBank
from multitune.training.events import Observe
from multitune.training.job import Measure
from multitune.training.prepare import PreparedRun, TaskInput

LONGEST_ANSWER = 512  # tokens generated at most where the task does not say

Said = Mapping[str, Mapping[str, Sequence[Prediction]]]  # subject -> task -> its predictions


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to evaluate: its name in all tables, and the adapter of a bank that it is."""

    name: str  # `base`, or the name of a recipe
    bank: AdapterBank
    adapter: str  # in `bank`; `base` where the backbone itself was trained


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Which rows to answer, and how many at once."""

    limit: int | None = None  # most rows of a split; None for all
    batch_size: int = 32
    pack_tokens: int = 2048
    seed: int = 17  # draws the rows where there are more than `limit`


def predict_task(
    bank: AdapterBank, adapter: str, item: TaskInput, split: Split, chat: ChatFormat, options: PredictOptions
) -> list[Prediction]:
    """What one adapter (or `base`) says to the rows of one task, in the order of the split.

    The choice of rows depends on the seed, the task, the split and the limit alone, so that all adapters meet the
    same ones; rows that are too long for the run are not among them.

    Raises:
        MultituneError: the outputs are not finite, or a single prompt does not fit into memory.
    """
    return predict_rows(bank, adapter, item, (split, chosen_rows(item, split, options)), chat, options)


def predict_rows(
    bank: AdapterBank,
    adapter: str,
    item: TaskInput,
    chosen: tuple[Split, Sequence[int]],
    chat: ChatFormat,
    options: PredictOptions,
) -> list[Prediction]:
    """`predict_task` on given rows of a split, by their places among its tokenised rows."""
    split, places = chosen
    rows = [item.tokens[split][i] for i in places]
    task = item.data.task
    try:
        if task.config.kind == "classify":
            outputs, losses = _pick_labels(bank, adapter, item, rows, chat, options.pack_tokens)
        else:
            decoding = GenerateOptions(longest_answer(item), options.batch_size, options.pack_tokens)
            outputs, losses = generate(bank, adapter, rows, chat, decoding)
    except MultituneError as error:
        raise type(error)(f"task {item.name!r}, {error}") from error
    examples = [item.data.examples[split][item.tokens[split].kept[i]] for i in places]
    return [
        task.predict(example, output, float(loss))
        for example, output, loss in zip(examples, outputs, losses, strict=True)
    ]


def chosen_rows(item: TaskInput, split: Split, options: PredictOptions) -> list[int]:
    """Places of the rows to answer, in order: all, or as many as the limit, drawn by the seed."""
    rows = generator(options.seed, "evaluate", item.name, split).permutation(len(item.tokens[split]))
    return sorted(rows[: options.limit].tolist())


def longest_answer(item: TaskInput) -> int:
    """Most tokens to generate: as the task says, or twice its longest training answer, at most 512.

    A retention set trains on nothing: its own longest answer stands in.
    """
    rows = next(rows for rows in item.tokens.values() if len(rows))
    seen = 2 * int(rows.answer_lengths.max())
    return item.data.task.config.max_new_tokens or min(seen, LONGEST_ANSWER)


def _pick_labels(
    bank: AdapterBank, adapter: str, item: TaskInput, rows: Sequence[Segments], chat: ChatFormat, pack_tokens: int
) -> tuple[list[str], np.ndarray]:
    """The likeliest label of each row, and the loss of the right one, in nats per token, float64 (row,)."""
    labels = item.data.task.labels
    encoded = chat.encode_answers(labels)
    scores = score_labels(bank, adapter, [row.prompt for row in rows], encoded, pack_tokens)
    numbers = {tuple(ids.tolist()): number for number, ids in enumerate(encoded)}
    golds = [numbers[tuple(row.answer.tolist())] for row in rows]
    places = np.arange(len(rows)), golds
    losses = -scores.log_likelihood[places] / [len(row.answer) for row in rows]
    # The search may have ruled out a right label without scoring all of it.
    missing = np.flatnonzero(~scores.exact[places])
    losses[missing] = answer_losses(bank, adapter, [rows[i] for i in missing.tolist()], pack_tokens)
    return [labels[best] for best in scores.best], losses


def measure(prepared: PreparedRun) -> Measure:
    """The metric of an adapter on validation rows of a task, as training asks for it."""

    def on_validation(bank: AdapterBank, adapter: str, item: TaskInput, limit: int) -> float:
        options = predict_options(prepared, limit)
        predictions = predict_task(bank, adapter, item, "validation", prepared.chat, options)
        return item.data.task.score(predictions).value

    return on_validation


def predict_options(prepared: PreparedRun, limit: int | None) -> PredictOptions:
    """As the run's config says, with a limit of its own."""
    config = prepared.config
    return PredictOptions(limit, config.evaluate.batch_size, config.train.pack_tokens, config.seed)


def evaluate_run(
    folder: RunFolder, prepared: PreparedRun, subjects: Sequence[Subject], observe: Observe
) -> dict[str, Any]:
    """Let every subject answer its tasks, compare them, and write prompts/, predictions/ and scores.json.

    The base answers all tasks, an adapter those of its recipe; retention sets are for the base and compared adapters.

    Args:
        folder: of the run.
        prepared: the run.
        subjects: the base, and the adapters under their recipes' names.
        observe: gets `{"kind": "evaluated", "adapter", "task", "metric", "score"}` for each pair.

    Returns:
        What scores.json holds; its form stands at the top of this file.

    Raises:
        MultituneError: an adapter's outputs are not finite, or a single prompt does not fit into memory.
    """
    settings = prepared.config.evaluate
    recipes = {plan.recipe.name: plan.recipe for plan in prepared.plans}
    every = tuple(name for name, item in prepared.tasks.items() if not item.general)
    several = [name for name, recipe in recipes.items() if len(recipe.tasks) > 1]
    compared = several or list(recipes)
    retained = {name: tuple(prepared.retention) for name in (BASE, *compared)}
    answered = {BASE: every, **{name: recipe.tasks for name, recipe in recipes.items()}}
    asked = {name: (*tasks, *retained.get(name, ())) for name, tasks in answered.items()}
    for name in asked[BASE]:
        _write_prompts(folder, prepared, prepared.sets[name])
    said = {s.name: _answer(folder, prepared, s, asked[s.name], observe) for s in subjects}
    kept = [subject for subject in subjects if subject.name in (BASE, *compared)]
    general = {name: item for name, item in prepared.tasks.items() if item.general}
    record = {
        "split": settings.split,
        "confidence": settings.confidence,
        "resamples": settings.resamples,
        "tasks": {name: _task_record(prepared.tasks[name], said) for name in every},
        "transfer": {name: _transfer(prepared, name, recipes, said) for name in compared},
        "general": {name: _retention(prepared, item, kept) for name, item in general.items()},
        "retention": {name: _retained(prepared, item, said) for name, item in prepared.retention.items()},
    }
    write_json(folder.scores, record)
    return read_json(folder.scores)


def _write_prompts(folder: RunFolder, prepared: PreparedRun, item: TaskInput) -> None:
    """Keep what is asked, so that a reader of the run needs no data beside it."""
    settings = prepared.config.evaluate
    split, kept = settings.split, item.tokens[settings.split].kept
    places = chosen_rows(item, split, predict_options(prepared, settings.limit))
    examples = [item.data.examples[split][kept[place]] for place in places]
    rows = [json.dumps({"id": one.id, "prompt": one.prompt}, ensure_ascii=False) + "\n" for one in examples]
    write_text(folder.prompts(item.name, split), "".join(rows))


def _answer(
    folder: RunFolder, prepared: PreparedRun, subject: Subject, names: Sequence[str], observe: Observe
) -> dict[str, list[Prediction]]:
    """One subject's predictions by task, written as they come."""
    settings = prepared.config.evaluate
    options = predict_options(prepared, settings.limit)
    said: dict[str, list[Prediction]] = {}
    for name in names:
        item = prepared.sets[name]
        said[name] = predict_task(subject.bank, subject.adapter, item, settings.split, prepared.chat, options)
        write_predictions(folder.predictions(subject.name, name, settings.split), said[name])
        score = item.data.task.score(said[name])
        event = {"adapter": subject.name, "task": name, "metric": score.metric, "score": score.value}
        observe({"kind": "evaluated", **event})
    return said


def _task_record(item: TaskInput, said: Said) -> dict[str, Any]:
    """One task's score by every subject that answered it."""
    task = item.data.task
    scores: dict[str, Any] = {}
    for subject, by_task in said.items():
        if item.name in by_task:
            predictions = by_task[item.name]
            score = task.score(predictions)
            loss = fmean(p.loss for p in predictions if p.loss is not None)
            scores[subject] = {"score": score.value, "examples": score.examples, "loss": loss, "extra": score.extra}
    return {"kind": task.config.kind, "metric": task.metric.name, "scores": scores}


def _transfer(prepared: PreparedRun, name: str, recipes: Mapping[str, RecipeConfig], said: Said) -> dict[str, Any]:
    """The transfer table of one adapter, and its summary."""
    references: dict[str, str] = {}
    for task in recipes[name].tasks:
        alone = [other for other, recipe in recipes.items() if recipe.tasks == (task,) and recipe.on is None]
        references[task] = alone[0] if alone and len(recipes[name].tasks) > 1 else BASE
    arms = {task: Arms(said[other][task], said[name][task], said[BASE][task]) for task, other in references.items()}
    table = compare(arms, {task: prepared.tasks[task].data.task.metric for task in arms}, bootstrap_plan(prepared))
    rows = [{**asdict(row), "reference": references[row.task]} for row in table.rows]
    for row in rows:
        row["against"] = "base" if row["reference"] == BASE else "alone"
        row["alone"] = None if row["reference"] == BASE else row["alone"]
    return {"tasks": rows, "summary": asdict(table.summary)}


def bootstrap_plan(prepared: PreparedRun) -> BootstrapPlan:
    """Resamples, confidence and seed of the run's intervals."""
    settings = prepared.config.evaluate
    return BootstrapPlan(settings.resamples, settings.confidence, prepared.config.seed)


def _retained(prepared: PreparedRun, item: TaskInput, said: Said) -> dict[str, Any]:
    """The scores on a retention set, and how those of each adapter differ from the base's."""
    answers = {subject: by_task[item.name] for subject, by_task in said.items() if item.name in by_task}
    before = answers[BASE]
    change: dict[str, Any] = {}
    for subject, after in answers.items():
        if subject != BASE:
            arms, metrics = {item.name: Arms(before, after)}, {item.name: item.data.task.metric}
            (row,) = compare(arms, metrics, bootstrap_plan(prepared)).rows
            change[subject] = {"difference": row.difference, "low": row.low, "high": row.high, "p": row.p}
    return {**_task_record(item, said), "examples": len(before), "change": change}


def _retention(prepared: PreparedRun, item: TaskInput, subjects: Sequence[Subject]) -> dict[str, Any]:
    """Mean loss of each subject on a general set."""
    settings = prepared.config.evaluate
    options = predict_options(prepared, settings.limit)
    rows = [item.tokens[settings.split][i] for i in chosen_rows(item, settings.split, options)]
    losses = {s.name: float(answer_losses(s.bank, s.adapter, rows, options.pack_tokens).mean()) for s in subjects}
    return {"examples": len(rows), "loss": losses}


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Replace a file of predictions, one JSON object per line."""
    write_text(path, "".join(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Predictions as they were before they were written, lists of spans included.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: missing. Evaluate the run again") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: damaged ({error}). Evaluate the run again") from error
    predictions: list[Prediction] = []
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
            spans = {key: _spans(fields[key]) for key in ("value", "gold")}
            predictions.append(Prediction(**{**fields, **spans}))
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"{path}: line {number} is damaged ({error}). Evaluate the run again") from error
    return predictions


def _spans(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(tuple(span) for span in value) if isinstance(value, list) else value
