"""All sets of a run as they are read: tasks, general and retention, before one leaves out what another holds out."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from multitune.config.schema import RunConfig
from multitune.config.source import SourceConfig
from multitune.config.task import TaskConfig
from multitune.data.taskdata import TaskData, prepare_retention, prepare_task

Progress = Callable[[str, int, int], None]  # (set, rows done, rows it has; 0 where that is not known yet)
Role = Literal["task", "general", "retention"]


@dataclass(frozen=True, slots=True)
class RunSets:
    """The sets of a run, in the order of its file."""

    tasks: tuple[TaskData, ...]
    general: tuple[TaskData, ...]
    retention: tuple[TaskData, ...]

    @property
    def by_role(self) -> Mapping[Role, tuple[TaskData, ...]]:
        """The sets of each role."""
        return {"task": self.tasks, "general": self.general, "retention": self.retention}

    def stated(self, config: RunConfig) -> RunConfig:
        """The run with what was recognised of its rows written out, so that it reads the same wherever it goes."""
        groups = {"tasks": self.tasks, "general": self.general, "retention": self.retention}
        return config.model_copy(
            update={name: tuple(one.task.config for one in sets) for name, sets in groups.items()}
        )


def read_sets(config: RunConfig, ends: Collection[str] = (), progress: Progress | None = None) -> RunSets:
    """Every set of a run: loaded, rendered, split and limited.

    Args:
        config: its paths are absolute.
        ends: end tokens of the base, which are taken off the end of answers.
        progress: is told of each set before it is read.

    Raises:
        InputError: rows cannot be read, or do not fit the templates or the labels.
    """
    members = [*config.tasks, *config.general]

    def read(task: TaskConfig) -> TaskData:
        _begin(progress, task)
        by_row = sum(_source(one) == _source(task) for one in members) > 1
        return prepare_task(task, config.seed, ends, by_row)

    def read_retention(task: TaskConfig) -> TaskData:
        _begin(progress, task)
        return prepare_retention(task, config.evaluate.split, config.seed, ends)

    return RunSets(
        tuple(map(read, config.tasks)), tuple(map(read, config.general)), tuple(map(read_retention, config.retention))
    )


def _begin(progress: Progress | None, task: TaskConfig) -> None:
    if progress is not None:
        progress(task.name, 0, 0)


def _source(task: TaskConfig) -> SourceConfig:
    """Where the rows of a set come from that have no split of their own."""
    return task.data.model_copy(update={"validation": None, "test": None})
