"""Answers of any origin against each other: runs, folders of predictions, and files of them, on the same rows."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from multitune.config.load import load_config
from multitune.config.source import SourceConfig
from multitune.config.task import Kind, TaskConfig
from multitune.core.errors import DataError, DataNotFoundError, InputError, TaskError, suggest
from multitune.core.hub import nearest_path
from multitune.core.records import SPLITS, Example, Prediction
from multitune.core.results.comparison import RunComparison
from multitune.core.run_folder import RunFolder
from multitune.core.text import normal_form
from multitune.data.formats import is_data_file, read_rows
from multitune.evaluation.stats import BootstrapPlan
from multitune.reporting.answers import Answers, ScoredRun
from multitune.reporting.compare_runs import against_first, shared_tasks
from multitune.tasks.metrics import METRICS
from multitune.tasks.output_parsing import label_text
from multitune.tasks.task import Row, Task

# Columns under which tools write what they wrote, should have written, and were asked; the first that is there counts.
OUTPUT = ("output", "prediction", "predict", "response", "completion")
GOLD = ("gold", "answer", "label", "reference", "target")
FILE_SPLIT = "given"  # in the place of test or validation, which a file does not say


@dataclass(frozen=True, slots=True)
class Scoring:
    """How tasks are scored that no run knows: metrics by task, "" for all others, and a run file that names tasks."""

    metrics: Mapping[str, str] = field(default_factory=dict[str, str])
    run_file: Path | None = None


def compare_predictions(
    paths: Sequence[Path | str],
    *,
    tasks: Sequence[str] = (),
    scoring: Scoring | None = None,
    adapter: str | None = None,
    plan: BootstrapPlan | None = None,
) -> RunComparison:
    """Each side against the first, on the tasks that all of them have; statistics and verdicts are those of a run.

    Args:
        paths: two or more: the folder of a run; a folder of files TASK.jsonl; or one such file. A row has an `id`, an
            `output` and, unless another side has it, a `gold` answer.
        tasks: those to compare; all that the sides share when empty.
        scoring: of tasks that no run among the paths knows.
        adapter: of a run, whose answers count; what each task ships with when None.
        plan: resamples, confidence and seed; those of the first run when None.

    Raises:
        InputError: fewer than two sides, no task in common, one without a metric, or rows that lack a part.
        RunFolderError: the sides answered different rows.
    """
    if len(paths) < 2:
        raise InputError("compare-predictions: needs two runs or folders of predictions, or more")
    sides = [_Side(Path(path)) for path in paths]
    names = _common(sides, tasks)
    run = next((side.run for side in sides if side.run), None)
    ways = _Ways(run, scoring or Scoring())
    answers = {name: _answers(name, sides, ways, adapter) for name in names}
    return against_first(_known(sides), answers, plan or (run.own.plan if run else BootstrapPlan()))


class _Side:
    """A run, or files of predictions by task."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = ScoredRun(RunFolder(path)) if RunFolder(path).config.is_file() else None
        self.files: dict[str, Path] = {}
        if self.run:
            return
        if path.is_file():
            self.files = {_task_name(path): path}
        elif path.is_dir():
            self.files = {_task_name(file): file for file in sorted(path.iterdir()) if is_data_file(file)}
        else:
            raise DataNotFoundError(f"{path}: no such file or folder. {nearest_path(path)}Check the path")
        if not self.files:
            raise DataNotFoundError(f"{path}: neither a run nor a folder of predictions. Put files TASK.jsonl into it")

    @property
    def tasks(self) -> list[str]:
        return self.run.tasks if self.run else list(self.files)

    @property
    def is_one_file(self) -> bool:
        return self.path.is_file()


def _task_name(file: Path) -> str:
    """`tweets` of tweets.jsonl and of tweets.test.jsonl."""
    parts = file.name.split(".")
    stem = [part for part in parts[:-1] if part not in (*SPLITS, "jsonl", "json", "csv")]
    return ".".join(stem) or file.name


def _common(sides: Sequence[_Side], wanted: Sequence[str]) -> list[str]:
    """The tasks of all sides; a single file is of whatever one task is meant."""
    several = [side for side in sides if not side.is_one_file]
    if not several or (len(wanted) == 1 and len(several) < len(sides)):
        name = wanted[0] if wanted else next(iter(sides[0].files))
        for side in sides:
            if side.is_one_file:
                side.files = {name: side.path}
    return shared_tasks(_known(sides), wanted)


def _known(sides: Sequence[_Side]) -> list[tuple[str, list[str]]]:
    return [(str(side.path), side.tasks) for side in sides]


class _Ways:
    """How each task is read and scored: as a run knows it, as a run file says, or by a metric alone."""

    def __init__(self, run: ScoredRun | None, scoring: Scoring) -> None:
        self._run, self._scoring = run, scoring

    @cached_property
    def _configs(self) -> dict[str, TaskConfig]:
        file = self._scoring.run_file
        return {task.name: task for task in load_config(file).tasks} if file else {}

    def config(self, task: str) -> TaskConfig:
        """The configuration of a task.

        Raises:
            InputError: nothing says how it is scored.
        """
        metric = self._scoring.metrics.get(task) or self._scoring.metrics.get("")
        if metric:
            return _by_metric(task, metric)
        if task in self._configs:
            return self._configs[task]
        if self._run and task in self._run.tasks:
            config = self._run.home(task).config
            return next(one for one in (*config.tasks, *config.retention) if one.name == task)
        raise InputError(
            f"--metric: nothing says how {task!r} is scored. Give --metric {task}=NAME, or --tasks with a file that "
            f"names it. Metrics: {', '.join(METRICS)}"
        )


def _by_metric(task: str, metric: str) -> TaskConfig:
    """A task of the first kind that a metric suits."""
    faults: list[TaskError] = []
    for kind in (kind for kind in get_args(Kind) if kind not in ("choice", "text")):  # which need more than outputs
        config = TaskConfig(name=task, kind=kind, metric=metric, data=SourceConfig(), prompt="-", answer="-")
        try:
            Task(config)
        except TaskError as error:
            faults.append(error)
        else:
            return config
    if metric in METRICS:
        raise faults[0]
    raise InputError(f"--metric {task}={metric}: {suggest(metric, METRICS)}")


def _answers(name: str, sides: Sequence[_Side], ways: _Ways, adapter: str | None) -> list[Answers]:
    """What each side answered to a task."""
    config = ways.config(name)
    of_runs = {side.path: side.run.answers(name, adapter) for side in sides if side.run}
    split = next((answers.split for answers in of_runs.values()), FILE_SPLIT)
    rows = {side.path: list(read_rows(side.files[name], f"task {name!r}")) for side in sides if not side.run}
    golds: dict[str, str] = {}
    for answers in of_runs.values():
        golds |= {row.id: _text(row.gold) for row in answers.predictions}
    for each in rows.values():
        golds |= {
            _id(row, at): _text(gold) for at, row in enumerate(each, 1) if (gold := _first(row, GOLD)) is not None
        }
    parts = {path: _parts(path, each, golds) for path, each in rows.items()}
    task = Task(config)
    known = {_text(row.value) for answers in of_runs.values() for row in answers.predictions if row.value is not None}
    task.fit_labels({*golds.values(), *known})
    found: list[Answers] = []
    for side in sides:
        if side.run:
            found.append(replace(of_runs[side.path], metric=task.metric))
        else:
            predictions = list(_predicted(task, side.path, parts[side.path]))
            found.append(Answers("", task.metric, split, predictions))
    return found


def _text(gold: Any) -> str:
    """A gold value of a run's record as a task would read it."""
    if isinstance(gold, list | tuple):
        lines = [one if isinstance(one, str) else ", ".join(one) for one in gold]  # labels, or entities
        return label_text(lines)
    return str(gold)


def _parts(path: Path, rows: Sequence[Row], golds: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(id, output, gold) of each row; `golds` stands in where a row has none.

    Raises:
        DataError: a row has no output, or no side has a gold answer for it.
    """
    found: list[tuple[str, str, str]] = []
    for number, row in enumerate(rows, start=1):
        id_, output, gold = _id(row, number), _first(row, OUTPUT), _first(row, GOLD)
        if output is None:
            raise DataError(f"{path}: row {number} has no output. Name it `output`; found: {', '.join(row)}")
        text = golds.get(id_) if gold is None else _text(gold)
        if text is None:
            raise DataError(f"{path}: row {number} (id {id_!r}) has no `gold`, and no other side has one. Add it")
        found.append((id_, str(output), text))
    return found


def _id(row: Row, number: int) -> str:
    """A row's `id`; without one the hash of its prompt, or else its number."""
    if row.get("id") is not None:
        return str(row["id"])
    prompt = row.get("prompt")
    return str(number) if prompt is None else hashlib.sha256(str(prompt).encode()).hexdigest()[:16]


def _first(row: Row, names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _predicted(task: Task, path: Path, parts: Sequence[tuple[str, str, str]]) -> Iterable[Prediction]:
    for id_, output, gold in parts:
        if task.kind == "text":
            raise DataError(f"{path}: task {task.name!r} is scored by likelihood, which no output shows. Leave it out")
        text = normal_form(gold) if task.kind in ("classify", "choice") else gold
        value = task.gold(text)
        if value is None:
            raise DataError(f"{path}: row {id_!r} has the gold {gold!r}, no answer of kind {task.kind}. Correct it")
        yield task.predict(Example(task.name, id_, "", text, value, options=(text,)), output)  # right or not: enough
