"""Which step of an adapter is kept: the last, unless an earlier look at validation rows is better beyond noise.

Of several looks the best one looks better than it is, and few rows move far: at the lowest validation loss on 16 rows
an adapter may still answer every row alike. An earlier look is therefore kept only where it leads the last one by more
than the best of as many looks that are all as good as the last would show in one case of twenty (core.null_margin).
The metric decides where it was measured; else, or where it cannot tell, the loss does.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from multitune.core.null_margin import null_margins
from multitune.core.results.base import Record
from multitune.core.seeds import generator

Criterion = Literal["mean", "worst", "weighted"]
RESAMPLES = 1000
SEED = 17  # of the resamples: the same for every adapter and run


class RowValues(Record):
    """One task at one look, row by row; the rows are the same at every look."""

    losses: tuple[float, ...]  # nats per answer token
    scores: tuple[float, ...] = ()  # by the task's metric; none where it was not measured


class Look(Record):
    """One validation of an adapter."""

    step: int
    tasks: dict[str, RowValues]


def over_tasks(values: np.ndarray, criterion: Criterion, weights: np.ndarray) -> np.ndarray:
    """Values where higher is better, (…, task), over the tasks: their mean, the worst, or the weighted mean."""
    if criterion == "mean":
        return values.mean(-1)
    return values.min(-1) if criterion == "worst" else (values * weights).sum(-1) / weights.sum()


def measured(looks: Sequence[Look]) -> list[Look]:
    """The looks at which the metric was measured."""
    return [look for look in looks if all(rows.scores for rows in look.tasks.values())]


def choose_step(looks: list[Look], criterion: Criterion, weights: Mapping[str, float]) -> tuple[int, str]:
    """The step to keep, and why.

    Args:
        looks: all validations of an adapter, in the order of their steps; the first is that of step 0.
        criterion: how values of several tasks come together.
        weights: of the tasks, for `weighted`.
    """
    last = looks[-1]
    scored = measured(looks)
    by_score = _Leads(scored, "scores", criterion, weights) if last in scored and len(scored) > 1 else None
    by_loss = _Leads(looks, "losses", criterion, weights)
    if by_score and by_score.is_beyond_noise:
        return by_score.best.step, f"score {by_score.lead:.3f} above the last step's, {by_score.margin_text}"
    not_behind = by_score is None or by_score.of(by_loss.best) >= 0.0
    if by_loss.is_beyond_noise and not_behind:
        return by_loss.best.step, f"loss {by_loss.lead:.1%} of the start below the last step's, {by_loss.margin_text}"
    return last.step, "the last step; no earlier one is better beyond noise"


class _Leads:
    """How far every look is ahead of the last one, by scores or by losses relative to the start."""

    def __init__(
        self,
        looks: list[Look],
        what: Literal["scores", "losses"],
        criterion: Criterion,
        weights: Mapping[str, float],
    ) -> None:
        tasks = list(looks[-1].tasks)
        self._looks = looks
        self._criterion: Criterion = criterion
        self._weights = np.array([weights[task] for task in tasks])
        self._rows = [np.array([getattr(look.tasks[task], what) for look in looks]) for task in tasks]  # (look, row)
        if what == "losses":
            self._rows = [-rows / max(float(rows[0].mean()), 1e-9) for rows in self._rows]
        values = self._values([rows.mean(1) for rows in self._rows])
        self.leads = values - values[-1]  # (look,)
        # The latest of equals, so that the last step stays where nothing differs.
        place = len(looks) - 1 - int(self.leads[::-1].argmax())
        self.best, self.lead = looks[place], float(self.leads[place])
        self.margin = self._margin(place) if self.lead > 0.0 else 0.0

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the best look is ahead of the last one by more than the null margin."""
        return self.lead > self.margin

    @property
    def margin_text(self) -> str:
        """The margin in words."""
        return f"beyond the null margin ({self.margin:.3f} among {len(self._looks) - 1})"

    def of(self, look: Look) -> float:
        """The lead of a look; level where it was not measured."""
        return float(self.leads[self._looks.index(look)]) if look in self._looks else 0.0

    def _values(self, means: list[np.ndarray]) -> np.ndarray:
        return over_tasks(np.stack(means, axis=-1), self._criterion, self._weights)

    def _margin(self, place: int) -> float:
        """The lead that chance explains at one look, where all looks are as good as the last."""
        random = generator(SEED, "looks")
        means: list[np.ndarray] = []  # of each task, (look, resample)
        for rows in self._rows:
            count = rows.shape[1]
            times = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)  # (resample, row)
            means.append(rows @ times.T / count)
        drawn = self._values(means)
        return float(null_margins(drawn - drawn[-1], self.leads)[place])
