"""What is measured of a run's answers beside their scores: of what each task ships with, and of the base."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from multitune.config.adapters import seed_name
from multitune.core.bases import BASE
from multitune.core.errors import RunFolderError
from multitune.core.events import Observe, unwatched
from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction
from multitune.core.results.robustness import Robustness
from multitune.core.run_folder import RunFolder
from multitune.evaluation.bias import measure_bias
from multitune.evaluation.bias_suites import SuiteItems, read_suite
from multitune.evaluation.flips import measure_flips, plan_flips
from multitune.evaluation.groups import Answers
from multitune.evaluation.perturbed import measure_perturbed, plan_perturbed
from multitune.evaluation.probe import Probe, TaskRows, task_rows
from multitune.evaluation.secrets import OTHERS, measure_secrets, plan_secrets
from multitune.evaluation.slices import column_groups, group_metric, measure_slices
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.subjects import shipped_adapters
from multitune.inference.predict import Subject
from multitune.training.prepare import PreparedRun


@dataclass(frozen=True, slots=True)
class PlannedRobustness:
    """What will be measured beside the scores."""

    notes: list[str] = field(default_factory=list[str])  # how many rows that has answered more, for the user
    answers: Counter[str] = field(default_factory=Counter[str])  # of each task, to these rows, by all who are asked


def planned_robustness(prepared: PreparedRun) -> PlannedRobustness:
    """What will be measured and how many rows that has answered more; empty where nothing is asked for.

    Raises:
        ConfigError: a column of `evaluate.slices` makes no groups in any task.
        DataError: the source of a task no longer holds its rows.
    """
    settings, found = prepared.config.evaluate, PlannedRobustness()
    if not settings.asks_anything:
        return found
    tasks = task_rows(prepared)
    groups = column_groups({name: of.rows for name, of in tasks.items()}, settings.slices)
    notes = found.notes
    notes += [f"slices by {column}: no row is answered more" for column in groups]
    if settings.flips:
        planned, left_out = plan_flips(tasks)
        rows = sum(map(len, planned.values()))
        notes.append(f"flips: {rows:,} rows with swapped terms to answer, by the base and by what ships")
        notes += [f"flips: not of {of}: {why}" for of, why in left_out.items()]
        for (task, _), changed in planned.items():
            found.answers[task] += 2 * len(changed)
    if settings.perturbations:
        planned, left_out = plan_perturbed(tasks, settings.perturbations, prepared.config.seed)
        rows, evaluated = sum(map(len, planned.values())), sum(len(of.rows) for of in tasks.values())
        notes.append(f"perturb: {rows:,} perturbed rows to answer, by what ships; {evaluated:,} rows are evaluated")
        notes += [f"perturb: not of {of}: {why}" for of, why in left_out.items()]
        for (task, _), changed in planned.items():
            found.answers[task] += len(changed)
    for suite in _suites(prepared):
        options = sum(len(item.options) for item in suite.items)
        notes.append(
            f"bias: {suite.suite}: {len(suite.items):,} items with {options:,} options, by the base and by what ships"
        )
    if settings.secrets:
        items = {name: of.item for name, of in tasks.items()}
        planned, left_out = plan_secrets(items, dict.fromkeys(items, ""), prepared.config.seed)
        ranked = sum(map(len, planned.values()))
        notes.append(f"secrets: {ranked:,} to rank among {OTHERS + 1}, by the base and by what ships")
        notes += [f"secrets: not of {of}: {why}" for of, why in left_out.items()]
    return found


def _suites(prepared: PreparedRun) -> list[SuiteItems]:
    settings, seed = prepared.config.evaluate, prepared.config.seed
    return [read_suite(suite, data, settings.limit, seed) for suite, data in settings.bias.items()]


def measure_robustness(
    folder: RunFolder, prepared: PreparedRun, subjects: Sequence[Subject], observe: Observe = unwatched
) -> Robustness:
    """Measure what `evaluate` asks for and keep it beside the scores; what was measured before and not now stays.

    Tasks that joined later are not looked at.

    Args:
        folder: of the run, with its predictions and what each task ships with.
        prepared: the run.
        subjects: the base and the adapters; none are needed for slices alone.
        observe: gets the progress.

    Raises:
        ConfigError: a column of `evaluate.slices` makes no groups in any task.
        RunFolderError: the run was not evaluated on these rows.
        MultituneError: see `LanguageModel`.
    """
    settings, plan = prepared.config.evaluate, bootstrap_plan(prepared.config)
    shipped = shipped_adapters(folder, prepared.config)
    tasks = {name: of for name, of in task_rows(prepared).items() if name in shipped}
    groups = column_groups({name: of.rows for name, of in tasks.items()}, settings.slices)
    answers = {name: _answers(folder, prepared, of, shipped[name]) for name, of in tasks.items()}
    models = {one.name: one.model for one in subjects}
    probes = {name: Probe(of, answers[name], models) for name, of in tasks.items()}
    by_group = {name: _by_group(probe) for name, probe in probes.items()}
    adapters = [name for name in dict.fromkeys(shipped[task] for task in tasks) if name != BASE]
    items = {name: of.item for name, of in tasks.items()}
    found = Robustness(
        split=settings.split,
        confidence=settings.confidence,
        rows={name: len(of.rows) for name, of in tasks.items()},
        slices=tuple(measure_slices(column, values, by_group, plan) for column, values in groups.items()),
        flips=measure_flips(probes, plan, observe) if settings.flips else None,
        perturbed=measure_perturbed(probes, settings.perturbations, plan, observe) if settings.perturbations else None,
        bias=measure_bias(_suites(prepared), models, adapters, plan, observe) if settings.bias else None,
        secrets=measure_secrets(items, shipped, models, plan, observe) if settings.secrets else None,
    )
    if before := Robustness.read_if_made(folder.robustness):
        found = before.updated(found)
    found.write(folder.robustness)
    return found


def _by_group(probe: Probe) -> Answers:
    return replace(probe.answers, metric=group_metric(probe.of.task))


def _answers(folder: RunFolder, prepared: PreparedRun, of: TaskRows, adapter: str) -> Answers:
    """The predictions of a task's adapter with every seed, and of the base, in the order of the rows."""
    split, task = prepared.config.evaluate.split, of.task.name
    ids = [example.id for example in of.examples]

    def read(subject: str) -> list[Prediction]:
        path = folder.predictions(subject, task, split)
        found = {one.id: one for one in read_predictions(path)}
        if found.keys() != set(ids):
            raise RunFolderError(f"{path}: holds answers to other rows. Score the run again: multitune eval RUN")
        return [found[id_] for id_ in ids]

    names = [seed_name(adapter, number) for number in range(prepared.config.seeds)] if adapter != BASE else [BASE]
    kept = [name for name in names if folder.predictions(name, task, split).is_file()] or names[:1]
    return Answers(adapter, of.task.metric, [read(name) for name in kept], read(BASE))
