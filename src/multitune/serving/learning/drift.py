"""How far recent requests lie from the rows that a router was checked on, task by task."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from multitune.routing.router import Held

RECENT = 500  # requests of a task
FEW = 20  # below that nothing is said


@dataclass(slots=True)
class DriftMonitor:
    """Means of recent features against those of held-out rows; kept in memory alone."""

    held: Held
    _recent: dict[str, deque[np.ndarray]] = field(default_factory=dict[str, deque[np.ndarray]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self, task: str, features: np.ndarray) -> None:
        """Count a request (width,) whose likeliest task this is."""
        with self._lock:
            self._recent.setdefault(task, deque(maxlen=RECENT)).append(features.astype(np.float16))

    @property
    def drift(self) -> dict[str, float]:
        """Task -> drift of its recent requests; tasks with few of them are left out.

        The distance is to the nearest view of the task, as a request may be a whole prompt or its body alone.
        """
        with self._lock:
            recent = {task: np.array(rows, dtype=np.float32) for task, rows in self._recent.items()}
        found: dict[str, float] = {}
        for task, rows in recent.items():
            views = {view for owner, view in zip(self.held.tasks, self.held.views, strict=True) if owner == task}
            if len(rows) >= FEW and views:
                found[task] = min(shift(rows, self.held.rows_of(task, view)) for view in sorted(views))
        return found


def shift(rows: np.ndarray, held: np.ndarray) -> float:
    """How far apart the means of two sets of rows (row, width) are, in standard deviations of the second.

    The root mean square over columns, less what the means of as many rows of one distribution differ by chance; 0 is
    no shift.
    """
    spread = np.maximum(held.std(0), 1e-6)
    squares: Sequence[float] = ((rows.mean(0) - held.mean(0)) / spread) ** 2
    return float(np.sqrt(max(0.0, float(np.mean(squares)) - 1 / len(rows) - 1 / len(held))))
