"""A finished run against another model, on the rows that the run was scored on: who is better, task by task.

comparisons/SUBJECT.json holds::

    {"against": as given, "subject": SUBJECT, "split", "confidence", "resamples", "ours": {TASK: ADAPTER},
     "readings": {"strict" or "lenient": {
         "tasks": [{"task", "metric", "examples", "adapter", "base", "theirs", "ours", "difference": ours − theirs,
                    "low", "high", "p", "p_holm", "p_mcnemar", "verdict": "better", "worse" or "cannot tell"}],
         "unread": {TASK: {"ours", "theirs"}}}},
     and of a model behind an API: "api_base", "model", "answered_by", "parameters", "prompt_tokens", "answer_tokens",
     "uncounted": answers without a token count, "cost", "cut_short": {TASK: answers that reached their limit}}

Strict is how the task itself reads an output, lenient what the output means whatever its form (tasks.lenient_parsing);
lenient parsing is applied to all models alike. A local model picks among a task's labels by likelihood, as our
adapters do, so its labels can always be parsed; one behind an API writes freely.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from multitune.config.adapters import expand_adapters
from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError, Interrupted, RunFolderError, suggest
from multitune.core.events import Observe, unwatched
from multitune.core.files import read_json, write_json
from multitune.core.predictions import read_predictions, write_predictions
from multitune.core.records import Prediction, Split
from multitune.core.routing_versions import read_table
from multitune.core.run_folder import RunFolder
from multitune.data.task_input import TaskInput
from multitune.evaluation.external import Bout, RemoteOptions, answer_all, parse_contestant, subject_name
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.transfer import Arms, TaskTransfer, compare
from multitune.inference.predict import PredictOptions, chosen_rows, predict_options, predict_task
from multitune.model.backbone import load_backbone
from multitune.model.bank import BASE, AdapterBank
from multitune.model.files import load_adapter
from multitune.tasks.lenient_parsing import LenientReader
from multitune.training.prepare import PreparedRun, prepare_run

Reading = Callable[[TaskInput, Sequence[Prediction]], list[Prediction]]
SEEN = 2000  # training rows that the types of entities are taken from
VERDICTS = {"helped": "better", "hurt": "worse", "cannot tell": "cannot tell"}  # of ours


@dataclass(frozen=True, slots=True)
class AgainstOptions:
    """What to hold a run against, and with which of its adapters and rows."""

    against: str  # openai:MODEL, local:BASE or adapter:FOLDER
    adapter: str | None = None  # ours, for all its tasks; what each task ships with when absent
    split: Literal["validation", "test"] | None = None  # the one that was scored last when absent
    limit: int | None = None  # most rows per task
    remote: RemoteOptions = field(default_factory=RemoteOptions)
    observe: Observe = unwatched


def compare_folder(path: Path | str, options: AgainstOptions) -> dict[str, Any]:
    """Let another model answer the rows that a finished run was scored on, and compare the two.

    Args:
        path: the run folder.
        options: whom to compare with, and how.

    Returns:
        What the comparison's file holds; its form stands at the top of this file.

    Raises:
        InputError: the run was not evaluated, or the other model cannot be had as given.
        ServerError: its server failed; answers so far are kept, and the same call goes on.
        Interrupted: likewise.
    """
    folder = RunFolder(Path(path)).require()
    kind, name = parse_contestant(options.against)
    split = options.split or read_json(folder.scores)["split"]
    options.observe({"kind": "phase", "name": "prepare"})
    bouts = _bouts(folder, load_config(folder.config), options, split)
    options.observe({"kind": "phase", "name": "evaluate"})
    try:
        testimony = answer_all(kind, name, bouts, options.remote, options.observe)
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; answers so far are kept, and the same command goes on from there") from error
    subject = subject_name(kind, name, options.remote.api_base)
    for bout in bouts:
        theirs = testimony.predictions[bout.item.name]
        write_predictions(folder.predictions(subject, bout.item.name, split), theirs)
        score = bout.item.data.task.score(theirs)
        shown = {"adapter": options.against, "task": bout.item.name, "metric": score.metric, "score": score.value}
        options.observe({"kind": "evaluated", **shown})
    plan = bootstrap_plan(bouts[0].run.config)
    record = {
        "against": options.against,
        "subject": subject,
        "split": split,
        "confidence": plan.confidence,
        "resamples": plan.resamples,
        "ours": {bout.item.name: bout.adapter for bout in bouts},
        "readings": {
            "strict": _reading(bouts, testimony.predictions, _strict),
            "lenient": _reading(bouts, testimony.predictions, _lenient),
        },
        **testimony.record,
    }
    write_json(folder.comparison(subject), record)
    return read_json(folder.comparison(subject))


def _bouts(folder: RunFolder, config: RunConfig, options: AgainstOptions, split: Split) -> list[Bout]:
    """The tasks to compare on, each with the rows that ours answered."""
    chosen = _our_adapters(folder, config, options.adapter)
    own = {task.name for task in config.tasks}
    main = prepare_run(config)
    bouts: list[Bout] = []
    for task, adapter in chosen.items():
        where, run = folder, main
        if task not in own:  # it joined later, and is a run of its own
            where = folder.added(task)
            run = prepare_run(load_config(where.require().config))
            if not where.predictions(adapter, task, split).is_file():  # what it ships with came from the main run
                _answer_now(folder.adapter(adapter), where, run, (task, adapter), split)
        bouts.append(_bout(where, run, (task, adapter), split, options.limit))
    return bouts


def _answer_now(weights: Path, where: RunFolder, run: PreparedRun, ours: tuple[str, str], split: Split) -> None:
    """Let an adapter of the main run answer the rows of a task that joined later, and keep what it says."""
    task, adapter = ours
    bank = AdapterBank(load_backbone(run.ref, run.config.device, run.config.dtype))
    load_adapter(bank, weights, adapter)
    options = predict_options(run.config, run.config.evaluate.limit)
    said = predict_task(bank, adapter, run.tasks[task], split, run.chat, options)
    write_predictions(where.predictions(adapter, task, split), said)


def _our_adapters(folder: RunFolder, config: RunConfig, given: str | None) -> dict[str, str]:
    """Task -> the adapter of ours that is held against the other model."""
    recipes = expand_adapters(config)
    every = [task.name for task in config.tasks]
    if given == BASE:
        return dict.fromkeys(every, BASE)
    if given is not None:
        tasks = next((recipe.tasks for recipe in recipes if recipe.name == given), None)
        if tasks is None:
            names = [BASE, *(recipe.name for recipe in recipes)]
            raise ConfigError(f"--adapter {given}: this run has no such adapter. {suggest(given, names)}")
        return dict.fromkeys(tasks, given)
    if folder.routing_versions:
        return {task: row["adapter"] for task, row in read_table(folder)[1]["tasks"].items()}
    widest = sorted(recipes, key=lambda recipe: -len(recipe.tasks))
    return {task: next(recipe.name for recipe in widest if task in recipe.tasks) for task in every}


def _bout(where: RunFolder, run: PreparedRun, ours: tuple[str, str], split: Split, limit: int | None) -> Bout:
    task, adapter = ours
    item = run.tasks[task]
    said = {p.id: p for p in read_predictions(where.predictions(adapter, task, split))}
    kept = item.tokens[split].kept
    place_of = {item.data.examples[split][row].id: place for place, row in enumerate(kept.tolist())}
    strangers = [row for row in said if row not in place_of]
    if strangers:
        raise RunFolderError(
            f"{where.predictions(adapter, task, split)}: row {strangers[0]!r} is not among the task's {split} rows "
            "any more. Evaluate the run again"
        )
    answered = {place_of[row]: prediction for row, prediction in said.items()}
    drawn = chosen_rows(item, split, PredictOptions(limit, seed=run.config.seed))
    places = tuple(place for place in drawn if place in answered)
    mine = tuple(answered[place] for place in places)
    base_file = where.predictions(BASE, task, split)
    base = {p.id: p for p in read_predictions(base_file)} if base_file.is_file() else {}
    besides = tuple(base[p.id] for p in mine if p.id in base)
    return Bout(run, item, split, places, adapter, mine, besides if len(besides) == len(mine) else None)


def _strict(item: TaskInput, predictions: Sequence[Prediction]) -> list[Prediction]:
    return list(predictions)


def _lenient(item: TaskInput, predictions: Sequence[Prediction]) -> list[Prediction]:
    tags = item.data.task.config.kind == "tag"
    golds = [example.gold for example in item.data.examples["train"][:SEEN]] if tags else []
    return LenientReader(item.data.task, golds).reread(predictions)


def _reading(bouts: Sequence[Bout], theirs: Mapping[str, Sequence[Prediction]], read: Reading) -> dict[str, Any]:
    """The table under one reading; p is adjusted over its tasks."""
    arms: dict[str, Arms] = {}
    for bout in bouts:
        base = None if bout.base is None else read(bout.item, bout.base)
        arms[bout.item.name] = Arms(read(bout.item, theirs[bout.item.name]), read(bout.item, bout.ours), base)
    metrics = {bout.item.name: bout.item.data.task.metric for bout in bouts}
    table = compare(arms, metrics, bootstrap_plan(bouts[0].run.config))
    adapters = {bout.item.name: bout.adapter for bout in bouts}
    unread = {
        task: {"ours": sum(map(_is_unread, arm.together)), "theirs": sum(map(_is_unread, arm.alone))}
        for task, arm in arms.items()
    }
    return {"tasks": [_row(row, adapters[row.task]) for row in table.rows], "unread": unread}


def _row(row: TaskTransfer, adapter: str) -> dict[str, Any]:
    fields = asdict(replace(row))
    theirs, ours, verdict = fields.pop("alone"), fields.pop("together"), fields.pop("verdict")
    return {**fields, "adapter": adapter, "theirs": theirs, "ours": ours, "verdict": VERDICTS[verdict]}


def _is_unread(prediction: Prediction) -> bool:
    return prediction.value is None or prediction.value == ""
