"""What is measured of a run's answers beside their scores: of what each task ships with, and of the base."""

from multitune.config.adapters import seed_name
from multitune.core.bases import BASE
from multitune.core.errors import RunFolderError
from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction
from multitune.core.results.robustness import Robustness
from multitune.core.run_folder import RunFolder
from multitune.data.task_input import TaskInput
from multitune.evaluation.groups import Answers
from multitune.evaluation.slices import column_groups, group_metric, measure_slices
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.subjects import shipped_adapters
from multitune.inference.predict import chosen_rows, rows_at
from multitune.training.prepare import PreparedRun


def require_measurable(prepared: PreparedRun) -> None:
    """Refuse, before anything is trained, what could not be measured after it.

    Raises:
        ConfigError: a column of `evaluate.slices` makes no groups in any task.
    """
    items = _tasks(prepared)
    places = {name: _places(prepared, item) for name, item in items.items()}
    column_groups(items, prepared.config.evaluate.split, places, prepared.config.evaluate.slices)


def measure_robustness(folder: RunFolder, prepared: PreparedRun) -> Robustness:
    """Measure what `evaluate` asks for and keep it beside the scores; what was measured before and not now stays.

    Tasks that joined later are not looked at.

    Args:
        folder: of the run, with its predictions and what each task ships with.
        prepared: the run.

    Raises:
        ConfigError: see `require_measurable`.
        RunFolderError: the run was not evaluated on these rows.
    """
    settings = prepared.config.evaluate
    plan = bootstrap_plan(prepared.config)
    shipped = shipped_adapters(folder, prepared.config)
    items = {name: item for name, item in _tasks(prepared).items() if name in shipped}
    answers = {name: _answers(folder, prepared, item, shipped[name]) for name, item in items.items()}
    places = {name: _places(prepared, item) for name, item in items.items()}
    groups = column_groups(items, settings.split, places, settings.slices)
    found = Robustness(
        split=settings.split,
        confidence=settings.confidence,
        rows={name: len(of) for name, of in places.items()},
        slices=tuple(measure_slices(column, values, answers, plan) for column, values in groups.items()),
    )
    if before := Robustness.read_if_made(folder.robustness):
        found = before.updated(found)
    found.write(folder.robustness)
    return found


def _tasks(prepared: PreparedRun) -> dict[str, TaskInput]:
    return {name: item for name, item in prepared.tasks.items() if not item.general}


def _places(prepared: PreparedRun, item: TaskInput) -> list[int]:
    settings = prepared.config.evaluate
    return chosen_rows(item, settings.split, seed=prepared.config.seed, limit=settings.limit)


def _answers(folder: RunFolder, prepared: PreparedRun, item: TaskInput, adapter: str) -> Answers:
    """The predictions of a task's adapter with every seed, and of the base, in the order of the rows."""
    split = prepared.config.evaluate.split
    ids = [example.id for example in rows_at(item, split, _places(prepared, item))]

    def read(subject: str) -> list[Prediction]:
        path = folder.predictions(subject, item.name, split)
        found = {one.id: one for one in read_predictions(path)}
        if found.keys() != set(ids):
            raise RunFolderError(f"{path}: holds answers to other rows. Score the run again: multitune eval RUN")
        return [found[id_] for id_ in ids]

    names = [seed_name(adapter, number) for number in range(prepared.config.seeds)] if adapter != BASE else [BASE]
    kept = [name for name in names if folder.predictions(name, item.name, split).is_file()] or names[:1]
    return Answers(adapter, group_metric(item.data.task), [read(name) for name in kept], read(BASE))
