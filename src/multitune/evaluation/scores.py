"""Every adapter answers the rows of its tasks; the answers, the scores and the verdicts go into the run folder.

Each adapter of several tasks has a transfer table; in a run without one, every adapter has. A row of it compares the
adapter with the one that learned this task alone, the first of them in the run file; where there is none, with the
base. An adapter that was trained with several seeds is compared over all of them; elsewhere its first training stands
for it. General sets are no tasks: the loss on them, before (by the base) and after (by each adapter with a table),
shows what was kept. So do the retention sets, which nothing trains on.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import hypot
from statistics import fmean

from multitune.config.adapters import seed_name
from multitune.core.bases import BASE
from multitune.core.events import Observe, read_events
from multitune.core.files import write_text
from multitune.core.predictions import write_predictions
from multitune.core.records import Prediction
from multitune.core.results.events import EvaluatedEvent, StepEvent
from multitune.core.results.run import Selection
from multitune.core.results.scores import (
    GeneralLoss,
    RetentionChange,
    RetentionScores,
    Scores,
    SubjectScore,
    TaskScores,
    TransferRow,
    TransferTable,
)
from multitune.core.run_folder import RunFolder
from multitune.core.seals import json_line
from multitune.data.task_input import TaskInput
from multitune.evaluation.overlap import overlapping_ids
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.transfer import Arms, compare, compare_seeds
from multitune.inference.predict import Subject, chosen_rows, predict_task, rows_at
from multitune.training.plan import AdapterSpec
from multitune.training.prepare import PreparedRun

SAME, EMPTY, CUT = 0.9, 0.1, 0.1  # shares of the rows above which answers are degenerate
BySubject = Mapping[str, Mapping[str, Sequence[Prediction]]]  # subject -> task -> its predictions


def evaluate_run(folder: RunFolder, prepared: PreparedRun, subjects: Sequence[Subject], observe: Observe) -> Scores:
    """Let every subject answer its tasks, compare them, and write prompts/, predictions/ and scores.json.

    The base answers all tasks, an adapter those of its own; retention sets are for the base and compared adapters.

    Args:
        folder: of the run.
        prepared: the run.
        subjects: the base, and the adapters by name.
        observe: gets an EvaluatedEvent for each pair.

    Raises:
        MultituneError: an adapter's outputs are not finite, or a single prompt does not fit into memory.
    """
    settings = prepared.config.evaluate
    specs = {plan.spec.name: plan.spec for plan in prepared.adapters}
    every = tuple(name for name, item in prepared.tasks.items() if not item.general)
    several = [name for name, spec in specs.items() if len(spec.tasks) > 1]
    compared = several or list(specs)
    retained = {name: tuple(prepared.retention) for name in (BASE, *compared)}
    answered = {BASE: every, **{plan.spec.name: plan.spec.tasks for plan in prepared.plans}}
    asked = {name: (*tasks, *retained.get(name, ())) for name, tasks in answered.items()}
    for name in asked[BASE]:
        _write_prompts(folder, prepared, prepared.sets[name])
    by_subject = {s.name: _answer(folder, prepared, s, asked[s.name], observe) for s in subjects}
    kept = [subject for subject in subjects if subject.name in (BASE, *compared)]
    general = {name: item for name, item in prepared.tasks.items() if item.general}
    noise, overlap = _noise(folder), overlapping_ids(prepared)
    scores = Scores(
        split=settings.split,
        confidence=settings.confidence,
        resamples=settings.resamples,
        budget=prepared.config.train.alone,
        training_seconds=sum(event.seconds for event in read_events(folder.events) if isinstance(event, StepEvent)),
        tasks={
            name: _task_scores(prepared.tasks[name], by_subject, overlap[name], prepared.config.seeds)
            for name in every
        },
        transfer={name: _transfer(prepared, name, specs, by_subject, noise) for name in compared},
        general={name: _general_loss(prepared, item, kept) for name, item in general.items()},
        retention={
            name: _retention_scores(prepared, item, by_subject, overlap[name])
            for name, item in prepared.retention.items()
        },
    )
    scores.write(folder.scores)
    return scores


def _write_prompts(folder: RunFolder, prepared: PreparedRun, item: TaskInput) -> None:
    """Keep what is asked, so that a reader of the run needs no data beside it."""
    settings = prepared.config.evaluate
    split = settings.split
    examples = rows_at(item, split, chosen_rows(item, split, seed=prepared.config.seed, limit=settings.limit))
    asked = [{"id": one.id, "prompt": one.prompt, **({"chat": one.chat} if one.chat else {})} for one in examples]
    rows = [json_line(one) for one in asked]
    write_text(folder.prompts(item.name, split), "".join(rows))


def _answer(
    folder: RunFolder, prepared: PreparedRun, subject: Subject, names: Sequence[str], observe: Observe
) -> dict[str, list[Prediction]]:
    """One subject's predictions by task, written as they come."""
    settings = prepared.config.evaluate
    seed = prepared.config.seed
    predictions: dict[str, list[Prediction]] = {}
    for name in names:
        item = prepared.sets[name]
        predictions[name] = predict_task(subject.model, item, settings.split, seed=seed, limit=settings.limit)
        write_predictions(folder.predictions(subject.name, name, settings.split), predictions[name])
        score = item.data.task.score(predictions[name])
        observe(EvaluatedEvent(adapter=subject.name, task=name, metric=score.metric, score=score.value))
    return predictions


def _task_scores(item: TaskInput, by_subject: BySubject, overlap: Collection[str], seeds: int = 1) -> TaskScores:
    """One task's score by every subject that answered it, on all rows and on those that do not overlap with train.

    Further trainings stand with the first.
    """
    answers = {subject: by_task[item.name] for subject, by_task in by_subject.items() if item.name in by_task}
    further = {seed_name(subject, number) for subject in answers for number in range(1, seeds)}
    scores = {
        subject: _subject_score(item, [answers[name] for name in _trainings(subject, answers, seeds)], overlap)
        for subject in answers
        if subject not in further
    }
    rows = next(iter(answers.values()))
    return TaskScores(
        kind=item.data.task.kind,
        metric=item.data.task.metric.name,
        scores=scores,
        overlapping=sum(row.id in overlap for row in rows),
    )


def _subject_score(
    item: TaskInput, trainings: Sequence[Sequence[Prediction]], overlap: Collection[str]
) -> SubjectScore:
    task, first = item.data.task, trainings[0]
    score = task.score(first)
    writes = task.kind != "text"  # whose texts are scored, and not written
    faults = [degenerate(answers) if writes else "" for answers in trainings]
    place = next((place for place, fault in enumerate(faults) if fault), 0)
    clean = [answer for answer in first if answer.id not in overlap]
    return SubjectScore(
        score=score.value,
        examples=score.examples,
        loss=fmean(p.loss for p in first if p.loss is not None),
        extra=score.extra,
        degenerate=f"{faults[place]} (seed {place + 1})" if place else faults[0],
        seeds=tuple(task.score(answers).value for answers in trainings) if len(trainings) > 1 else (),
        clean=task.score(clean).value if 0 < len(clean) < len(first) else None,
    )


def _trainings(adapter: str, among: Collection[str], seeds: int) -> list[str]:
    """The names of an adapter's trainings; the base, and what was trained once, has one."""
    return [name for number in range(seeds) if (name := seed_name(adapter, number)) in among]


def degenerate(answers: Sequence[Prediction]) -> str:
    """What is wrong with answers as a whole: nearly all alike where the right ones differ, empty, or never ending."""
    outputs = Counter(one.output for one in answers)
    (most, times), rows = outputs.most_common(1)[0], len(answers)
    commonest = Counter(str(one.gold) for one in answers).most_common(1)[0][1]
    if outputs[""] > EMPTY * rows:
        return f"{outputs['']} of {rows} answers are empty"
    if (cut := sum(one.cut for one in answers)) > CUT * rows:
        return f"{cut} of {rows} answers had not ended at the limit of their length"
    if times > SAME * rows and commonest <= SAME * rows and rows > 1:
        return f"answers {most[:40]!r} to {times} of {rows} rows"
    return ""


def _transfer(
    prepared: PreparedRun,
    name: str,
    specs: Mapping[str, AdapterSpec],
    by_subject: BySubject,
    noise: Mapping[str, Mapping[str, float]],
) -> TransferTable:
    """The transfer table of one adapter over all its trainings, and its summary."""
    seeds = prepared.config.seeds
    references: dict[str, str] = {}
    arms: dict[str, list[Arms]] = {}
    for task in specs[name].tasks:
        alone = [other for other, spec in specs.items() if spec.tasks == (task,) and spec.parent is None]
        reference = references[task] = alone[0] if alone and len(specs[name].tasks) > 1 else BASE
        mine = _trainings(name, by_subject, seeds)
        theirs = _trainings(reference, by_subject, seeds) if reference != BASE else [BASE] * len(mine)
        base = by_subject[BASE][task]
        arms[task] = [Arms(by_subject[a][task], by_subject[b][task], base) for a, b in zip(theirs, mine, strict=True)]
    metrics = {task: prepared.tasks[task].data.task.metric for task in arms}
    table = compare_seeds(arms, metrics, bootstrap_plan(prepared.config))
    rows: list[TransferRow] = []
    for row in table.tasks:
        reference = references[row.task]
        if row.seeds == 1:
            moved = [noise.get(subject, {}).get(row.task) for subject in (reference, name) if subject != BASE]
            known = [value for value in moved if value is not None]
            row = row.model_copy(update={"noise": hypot(*known) if len(known) == len(moved) else None})
        rows.append(row.with_reference(reference))
    return table.model_copy(update={"tasks": tuple(rows)})


def _noise(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Adapter -> task -> how far its validation score moved late in training, where the run tells."""
    if not folder.selection.is_file():
        return {}
    return {name: kept.noise for name, kept in Selection.read(folder.selection).adapters.items()}


def _retention_scores(
    prepared: PreparedRun, item: TaskInput, by_subject: BySubject, overlap: Collection[str]
) -> RetentionScores:
    """The scores on a retention set, and how those of each adapter differ from the base's."""
    answers = {subject: by_task[item.name] for subject, by_task in by_subject.items() if item.name in by_task}
    before = answers[BASE]
    change: dict[str, RetentionChange] = {}
    for subject, after in answers.items():
        if subject != BASE:
            arms, metrics = {item.name: Arms(before, after)}, {item.name: item.data.task.metric}
            (row,) = compare(arms, metrics, bootstrap_plan(prepared.config)).tasks
            change[subject] = RetentionChange(difference=row.difference, low=row.low, high=row.high, p=row.p)
    scores = _task_scores(item, by_subject, overlap)
    return RetentionScores(**dict(scores), examples=len(before), change=change)


def _general_loss(prepared: PreparedRun, item: TaskInput, subjects: Sequence[Subject]) -> GeneralLoss:
    """Mean loss of each subject on a general set."""
    settings = prepared.config.evaluate
    places = chosen_rows(item, settings.split, seed=prepared.config.seed, limit=settings.limit)
    rows = rows_at(item, settings.split, places)
    losses = {subject.name: float(subject.model.loglikelihood(rows).loss.mean()) for subject in subjects}
    return GeneralLoss(examples=len(rows), loss=losses)
