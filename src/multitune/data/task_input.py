"""One task's data as a run uses it: examples and their tokens, split by split."""

from collections.abc import Mapping
from dataclasses import dataclass

from multitune.core.records import Split
from multitune.data.taskdata import TaskData
from multitune.data.tokens import TokenSet


@dataclass(frozen=True, slots=True)
class TaskInput:
    """One member of the run: its examples and their tokens. `general` sets are replay, not tasks."""

    data: TaskData
    tokens: Mapping[Split, TokenSet]
    general: bool

    @property
    def name(self) -> str:
        """The task's name."""
        return self.data.task.name
