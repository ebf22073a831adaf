"""The answers of a run to the rows of a task: which adapter answers it, its predictions, and their metric."""

from dataclasses import dataclass

from multitune.config.adapters import seed_name
from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.bases import BASE
from multitune.core.errors import InputError, RunFolderError, suggest
from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction
from multitune.core.results.scores import Scores
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder
from multitune.evaluation.resampling import corpus_score, score_interval
from multitune.evaluation.stats import BootstrapPlan
from multitune.tasks.metrics import Metric, metric_for


@dataclass(frozen=True, slots=True)
class Home:
    """A folder in which a task was trained and scored: the run's own, or that of a task which joined later."""

    folder: RunFolder
    config: RunConfig
    scores: Scores

    @property
    def plan(self) -> BootstrapPlan:
        """Resamples, confidence and seed as the scores have them."""
        return BootstrapPlan(self.scores.resamples, self.scores.confidence, self.config.seed)

    def metric(self, task: str) -> Metric:
        """The metric of a task, with its tolerance."""
        sets = (*self.config.tasks, *self.config.retention)
        return metric_for(next(config for config in sets if config.name == task))


@dataclass(frozen=True, slots=True)
class Answers:
    """One adapter's answers to a task, and what they are worth."""

    adapter: str
    metric: Metric
    split: str
    predictions: list[Prediction]

    @property
    def score(self) -> float:
        """Over all rows."""
        return corpus_score(self.metric, self.predictions)

    def interval(self, plan: BootstrapPlan) -> tuple[float, float]:
        """Of the score."""
        return score_interval(self.metric, self.predictions, plan)


class ScoredRun:
    """An evaluated run, opened.

    Raises:
        RunFolderError: it was not evaluated, or is damaged.
        ConfigError: its run file is of another version.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder.require()
        version = read_version(folder)
        self.shipped_by = version.table.adapters if version else {}
        self.own = _open(folder)
        self._homes = dict.fromkeys(self.own.scores.tasks, self.own)
        self._homes |= {task: _open(folder.added(task)) for task in folder.joined}

    @property
    def tasks(self) -> list[str]:
        """Its tasks, those that joined later behind."""
        return list(self._homes)

    def home(self, task: str) -> Home:
        """Where a task was scored."""
        return self._homes[task]

    def shipped(self, task: str) -> str:
        """The adapter that answers a task: as the routing table says; without one, the adapter of most tasks."""
        scores = self._homes[task].scores
        answered = scores.tasks[task].scores
        tables = [name for name in scores.transfer if name in answered]
        own = [name for name in answered if name != BASE]
        return next(name for name in (self.shipped_by.get(task), *tables, *own, BASE) if name in answered)

    def answers(self, task: str, adapter: str | None = None) -> Answers:
        """An adapter's answers to a task; those of the one that ships where none is named.

        Raises:
            InputError: that adapter did not answer this task.
        """
        home = self._homes[task]
        name, answered = adapter or self.shipped(task), home.scores.tasks[task].scores
        if name not in answered:
            raise InputError(
                f"--adapter {name}: did not answer {task!r} in {self.folder.path}. {suggest(name, answered)}"
            )
        split = home.scores.split
        predictions = read_predictions(home.folder.predictions(name, task, split))
        return Answers(name, home.metric(task), split, predictions)

    def trainings(self, task: str, answers: Answers) -> list[list[Prediction]]:
        """An adapter's answers to a task by every training that it had (`seeds`), its own first."""
        home = self._homes[task]
        names = [seed_name(answers.adapter, number) for number in range(1, home.config.seeds)]
        files = [home.folder.predictions(name, task, answers.split) for name in names]
        return [answers.predictions, *(read_predictions(file) for file in files if file.is_file())]


def _open(folder: RunFolder) -> Home:
    """A folder whose scores are of the tasks that its run file names."""
    config, scores = load_config(folder.config), Scores.read(folder.scores)
    named, scored = {task.name for task in config.tasks}, scores.tasks.keys()
    if named != scored:
        raise RunFolderError(
            f"{folder.scores}: holds scores of {', '.join(scored) or 'no task'}, but {folder.config.name} names "
            f"{', '.join(sorted(named))}. Put the run file back, or score again: multitune eval {folder.path}"
        )
    return Home(folder, config, scores)
