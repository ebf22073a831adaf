"""A finished run against another model, on the rows that the run was scored on: who is better, task by task.

Strict is how the task itself parses an output, lenient what the output means whatever its form; lenient parsing (see
tasks.lenient_parsing) is applied to all models alike. A local model picks among a task's labels by likelihood, as our
adapters do, so its labels can always be parsed; one behind an API writes freely.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from multitune.config.adapters import expand_adapters
from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.bases import BASE
from multitune.core.errors import ConfigError, Interrupted, RunFolderError, suggest
from multitune.core.events import Observe, unwatched
from multitune.core.predictions import read_predictions, write_predictions
from multitune.core.records import SPLITS, Prediction, Split
from multitune.core.results.comparison import Better, ComparedTask, ModelComparison, ParsedComparison, Unparsed
from multitune.core.results.events import EvaluatedEvent, PhaseEvent
from multitune.core.results.scores import OF_ONE_RUN, Scores, TransferRow, Verdict
from multitune.core.run_folder import RunFolder
from multitune.data.task_input import TaskInput
from multitune.evaluation.external import ComparisonTask, RemoteOptions, answer_all, parse_model, subject_name
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.subjects import shipped_adapters
from multitune.evaluation.transfer import Arms, compare
from multitune.inference.local import LocalModel
from multitune.inference.predict import chosen_rows, predict_task
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.tasks.lenient_parsing import LenientReader
from multitune.training.prepare import PreparedRun, prepare_run

Parse = Callable[[TaskInput, Sequence[Prediction]], list[Prediction]]
SEEN = 2000  # training rows that the types of entities are taken from
BETTER: dict[Verdict, Better] = dict(zip(OF_ONE_RUN, ("better", "worse", "cannot tell"), strict=True))  # ours


def compare_folder(
    path: Path | str,
    against: str,
    *,
    adapter: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    remote: RemoteOptions | None = None,
    observe: Observe = unwatched,
) -> ModelComparison:
    """Let another model answer the rows that a finished run was scored on, and compare the two.

    Args:
        path: the run folder.
        against: openai:MODEL, local:BASE or adapter:FOLDER.
        adapter: ours, for all its tasks; what each task ships with when None.
        split: of the rows; the one that was scored when None.
        limit: most rows per task.
        remote: how to ask a model behind an API.
        observe: gets progress, and an event per task.

    Raises:
        InputError: the run was not evaluated, or the other model cannot be had as given.
        ServerError: its server failed; answers so far are kept, and the same call goes on.
        Interrupted: likewise.
    """
    folder = RunFolder(Path(path)).require()
    kind, name = parse_model(against)
    remote = remote or RemoteOptions()
    rows: Split = "validation" if (split or Scores.read(folder.scores).split) == "validation" else "test"
    observe(PhaseEvent(name="prepare"))
    tasks = comparison_tasks(folder, load_config(folder.config), adapter, rows, limit)
    observe(PhaseEvent(name="evaluate"))
    try:
        theirs = answer_all(kind, name, tasks, remote, observe)
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; answers so far are kept, and the same command goes on from there") from error
    subject = subject_name(kind, name, remote.api_base)
    for task in tasks:
        predictions = theirs.predictions[task.item.name]
        write_predictions(folder.predictions(subject, task.item.name, rows), predictions)
        score = task.item.data.task.score(predictions)
        observe(EvaluatedEvent(adapter=against, task=task.item.name, metric=score.metric, score=score.value))
    plan = bootstrap_plan(tasks[0].run.config)
    comparison = ModelComparison(
        against=against,
        subject=subject,
        split=rows,
        confidence=plan.confidence,
        resamples=plan.resamples,
        ours={task.item.name: task.adapter for task in tasks},
        parsing={
            "strict": _parsed(tasks, theirs.predictions, _strict),
            "lenient": _parsed(tasks, theirs.predictions, _lenient),
        },
        usage=theirs.usage,
    )
    comparison.write(folder.comparison(subject))
    return comparison


def comparison_tasks(
    folder: RunFolder, config: RunConfig, given: str | None, split: Split, limit: int | None
) -> list[ComparisonTask]:
    """The tasks to compare on, each with the rows that ours answered.

    Args:
        folder: of the run.
        config: of the run.
        given: the adapter of ours, for all its tasks; what each task ships with when None.
        split: of the rows.
        limit: most rows per task.

    Raises:
        InputError: no such adapter, or as of `recorded_task`.
    """
    chosen = _our_adapters(folder, config, given)
    own = {task.name for task in config.tasks}
    main = prepare_run(config)
    tasks: list[ComparisonTask] = []
    for task, adapter in chosen.items():
        where, run = folder, main
        if task not in own:  # it joined later, and is a run of its own
            where = folder.added(task)
            run = prepare_run(load_config(where.require().config))
            if not where.predictions(adapter, task, split).is_file():  # what it ships with came from the main run
                _answer_now(folder, where, run, task=task, adapter=adapter, split=split)
        tasks.append(recorded_task(where, run, task=task, adapter=adapter, split=split, limit=limit))
    return tasks


def _our_adapters(folder: RunFolder, config: RunConfig, given: str | None) -> dict[str, str]:
    """Task -> the adapter of ours that is compared with the other model."""
    adapters = expand_adapters(config)
    every = [task.name for task in config.tasks]
    if given == BASE:
        return dict.fromkeys(every, BASE)
    if given is not None:
        tasks = next((adapter.tasks for adapter in adapters if adapter.name == given), None)
        if tasks is None:
            names = [BASE, *(adapter.name for adapter in adapters)]
            raise ConfigError(f"--adapter {given}: this run has no such adapter. {suggest(given, names)}")
        return dict.fromkeys(tasks, given)
    return shipped_adapters(folder, config)


def _answer_now(
    folder: RunFolder, where: RunFolder, run: PreparedRun, *, task: str, adapter: str, split: Split
) -> None:
    """Let an adapter of the main run answer the rows of a task that joined later, and keep its answers."""
    bank = AdapterBank(load_backbone(run.ref, run.config.device, run.config.dtype, run.config.quantization))
    if adapter != BASE:
        load_adapter(bank, folder.adapter(adapter), adapter)
    config, model = run.config, LocalModel(bank, adapter, run.chat, run.config)
    answers = predict_task(model, run.tasks[task], split, seed=config.seed, limit=config.evaluate.limit)
    write_predictions(where.predictions(adapter, task, split), answers)


def recorded_task(
    where: RunFolder, run: PreparedRun, *, task: str, adapter: str, split: Split, limit: int | None = None
) -> ComparisonTask:
    """The rows of a task that an adapter answered, with its answers and, where there are as many, the base's.

    Args:
        where: the run, or the folder of a task that joined.
        run: its data.
        task: its name.
        adapter: that answered, or `base`.
        split: of the rows.
        limit: most rows.

    Raises:
        RunFolderError: there are no such answers, or their rows are not in the data any more.
    """
    item = run.tasks[task]
    predictions = {p.id: p for p in read_predictions(where.predictions(adapter, task, split))}
    kept = item.tokens[split].kept
    place_of = {item.data.examples[split][row].id: place for place, row in enumerate(kept.tolist())}
    gone = [row for row in predictions if row not in place_of]
    if gone:
        raise RunFolderError(
            f"{where.predictions(adapter, task, split)}: row {gone[0]!r} is not among the task's {split} rows "
            "any more. Evaluate the run again"
        )
    answered = {place_of[row]: prediction for row, prediction in predictions.items()}
    drawn = chosen_rows(item, split, seed=run.config.seed, limit=limit)
    places = tuple(place for place in drawn if place in answered)
    mine = tuple(answered[place] for place in places)
    base_file = where.predictions(BASE, task, split)
    base = {p.id: p for p in read_predictions(base_file)} if base_file.is_file() else {}
    besides = tuple(base[p.id] for p in mine if p.id in base)
    return ComparisonTask(run, item, split, places, adapter, mine, besides if len(besides) == len(mine) else None)


def _strict(item: TaskInput, predictions: Sequence[Prediction]) -> list[Prediction]:
    return list(predictions)


def _lenient(item: TaskInput, predictions: Sequence[Prediction]) -> list[Prediction]:
    task, examples = item.data.task, item.data.examples
    golds = [example.gold for example in examples["train"][:SEEN]] if task.kind == "tag" else []
    rows = (row for split in SPLITS for row in examples[split]) if task.kind == "choice" else ()
    return LenientReader(task, golds, {row.id: row.options for row in rows}).reread(predictions)


def _parsed(
    tasks: Sequence[ComparisonTask], theirs: Mapping[str, Sequence[Prediction]], parse: Parse
) -> ParsedComparison:
    """The table under one way to parse; p is adjusted over its tasks."""
    arms: dict[str, Arms] = {}
    for task in tasks:
        base = None if task.base is None else parse(task.item, task.base)
        arms[task.item.name] = Arms(parse(task.item, theirs[task.item.name]), parse(task.item, task.ours), base)
    metrics = {task.item.name: task.item.data.task.metric for task in tasks}
    table = compare(arms, metrics, bootstrap_plan(tasks[0].run.config))
    adapters = {task.item.name: task.adapter for task in tasks}
    unparsed = {
        task: Unparsed(ours=sum(map(_is_unparsed, arm.together)), theirs=sum(map(_is_unparsed, arm.alone)))
        for task, arm in arms.items()
    }
    return ParsedComparison(tasks=tuple(_row(row, adapters[row.task]) for row in table.tasks), unparsed=unparsed)


def _row(row: TransferRow, adapter: str) -> ComparedTask:
    return ComparedTask(
        task=row.task,
        metric=row.metric,
        examples=row.examples,
        adapter=adapter,
        base=row.base,
        theirs=row.before,
        ours=row.together,
        difference=row.difference,
        low=row.low,
        high=row.high,
        p=row.p,
        p_holm=row.p_holm,
        p_mcnemar=row.p_mcnemar,
        verdict=BETTER[row.verdict],
    )


def _is_unparsed(prediction: Prediction) -> bool:
    return prediction.value is None or prediction.value == ""
