"""Whether new answers are worse than old ones beyond a margin, task by task, on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multitune.core.bases import BASE
from multitune.core.multiplicity import holm
from multitune.core.records import Prediction
from multitune.core.results.gate import GateSide, GateTask, GateVerdict
from multitune.core.results.scores import Difference
from multitune.evaluation.stats import BootstrapPlan, bootstrap_p, least_p
from multitune.evaluation.transfer import Arms, Measured, measure
from multitune.tasks.metrics import Metric


@dataclass(frozen=True, slots=True)
class Side:
    """One side's answers to a task, a list per training."""

    adapter: str
    trainings: Sequence[Sequence[Prediction]]


@dataclass(frozen=True, slots=True)
class Gated:
    """A task as both sides answered it, and the loss that counts as none."""

    metric: Metric
    old: Side
    new: Side
    margin: float

    @property
    def arms(self) -> list[Arms]:
        """A pair per seed, as many as the side with fewer has; the base is the same whatever the seed."""
        counts = [len(side.trainings) for side in (self.old, self.new) if side.adapter != BASE]
        old, new = (
            list(side.trainings) * (max(counts, default=1) if side.adapter == BASE else 1)
            for side in (self.old, self.new)
        )
        return [Arms(one, other) for one, other in zip(old, new, strict=False)]


def gate_tasks(tasks: Mapping[str, Gated], plan: BootstrapPlan) -> tuple[GateTask, ...]:
    """The verdict on each task.

    - `passes`: the whole interval of the difference lies above −margin. That every task passes needs no correction
      for their number: all of them must (intersection-union test, Berger 1982).
    - `worse`: the whole interval lies below −margin, and so does the difference with a p below 1 − confidence, which
      Holm adjusts over the tasks. While no task is worse beyond its margin, any is called so in at most 1 − confidence
      of cases.
    - `cannot tell`: all else, whatever the difference is.

    Intervals and p are those of `transfer.compare_seeds`: of the rows where each side was trained once, else of rows
    and training. Sides that answer every row alike, with each seed, differ by nothing, and pass.

    Args:
        tasks: task -> both sides on the same rows.
        plan: resamples, confidence and seed.
    """
    measured = {name: measure(name, task.arms, task.metric, plan) for name, task in tasks.items()}
    p_values = {name: _p_worse(measured[name], task.margin, plan) for name, task in tasks.items()}
    adjusted = holm(p_values)
    found: list[GateTask] = []
    for name, task in tasks.items():
        row, interval = measured[name].row, _interval(measured[name])
        found.append(
            GateTask(
                **dict(interval),
                task=name,
                metric=task.metric.name,
                examples=row.examples,
                seeds=row.seeds,
                old=GateSide(adapter=task.old.adapter, score=row.before),
                new=GateSide(adapter=task.new.adapter, score=row.together),
                margin=task.margin,
                p=p_values[name],
                p_holm=adjusted[name],
                verdict=gate_verdict(interval, adjusted[name], task.margin, plan.confidence),
            )
        )
    return tuple(found)


def gate_verdict(interval: Difference, p: float, margin: float, confidence: float) -> GateVerdict:
    """The verdict on one task; p is that of a difference of −margin, adjusted."""
    if interval.low > -margin:
        return "passes"
    return "worse" if interval.high < -margin and p < 1.0 - confidence else "cannot tell"


def _interval(measured: Measured) -> Difference:
    row = measured.row
    if not measured.discordant:  # the same trainings on both sides: their noise is no noise of the difference
        return Difference(difference=0.0, low=0.0, high=0.0)
    return Difference(difference=row.difference, low=row.low, high=row.high)


def _p_worse(measured: Measured, margin: float, plan: BootstrapPlan) -> float:
    """Two-sided p that the difference is −margin, as `measure` has it of zero; 1 where it is not below that."""
    beyond = measured.row.difference + margin
    if beyond >= 0.0:
        return 1.0
    if measured.row.seeds == 1:
        return bootstrap_p(measured.drawn + margin, measured.discordant)
    return max(measured.error.p(beyond), least_p(plan.resamples, measured.discordant))
