"""Which adapter each task ships with, chosen on validation: the shared one unless another is better beyond noise.

The rule, per task, with one standard error of the paired difference as the noise:

1. the best candidate by score wins, unless the shared adapter is within the noise of it: then that one stays;
2. of those within the noise of a winner that is not the shared one, the one with the fewest parameters ships.

The base is a candidate that costs nothing. Source of the rule: Breiman et al. 1984, section 3.4.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from multitune.core.records import Prediction
from multitune.evaluation.stats import BootstrapPlan, percentile_interval
from multitune.evaluation.transfer import corpus_score, resampled
from multitune.tasks.metrics import Metric

Role = Literal["base", "shared", "group", "residual", "alone"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that could answer a task."""

    name: str
    role: Role
    parameters: int  # beyond the base


@dataclass(frozen=True, slots=True)
class Standing:
    """How a candidate did on a task's validation rows, and against the one it is compared with."""

    score: float
    difference: float  # to the shared adapter, or to the base where none is shared
    low: float
    high: float
    standard_error: float  # of the difference


@dataclass(frozen=True, slots=True)
class Choice:
    """What a task ships with, and why."""

    task: str
    metric: str
    examples: int
    adapter: str
    why: str
    standings: Mapping[str, Standing]


def choose(
    task: str,
    metric: Metric,
    candidates: Sequence[Candidate],
    said: Mapping[str, Sequence[Prediction]],
    plan: BootstrapPlan,
) -> Choice:
    """The candidate that a task ships with.

    Args:
        task: its name, for the reader.
        metric: what it is measured by.
        candidates: those that answered, the base among them.
        said: candidate -> its predictions for the same rows in the same order.
        plan: resamples, confidence and seed of the intervals.
    """
    by_name = {candidate.name: candidate for candidate in candidates}
    shared = next((c.name for c in candidates if c.role == "shared"), "base")
    score = {name: corpus_score(metric, said[name]) for name in by_name}
    best = max(by_name, key=lambda name: (score[name], name == shared, -by_name[name].parameters))
    noise = {name: float(resampled(metric, said[name], said[best], plan)[0].std()) for name in by_name}
    level = [name for name in by_name if score[best] - score[name] <= noise[name]]
    chosen = shared if shared in level else min(level, key=lambda name: (by_name[name].parameters, -score[name]))
    standings = {name: _standing(metric, said[shared], said[name], plan) for name in by_name}
    return Choice(
        task=task,
        metric=metric.name,
        examples=len(said[chosen]),
        adapter=chosen,
        why=_why(chosen, best, shared, score, noise),
        standings=standings,
    )


def _why(chosen: str, best: str, shared: str, score: Mapping[str, float], noise: Mapping[str, float]) -> str:
    if chosen == best:
        runner_up = max((name for name in score if name != best), key=lambda name: score[name], default=best)
        return f"best, {score[best]:.3f}; next {runner_up} {score[runner_up]:.3f}"
    gap = f"{score[best] - score[chosen]:.3f} behind {best}, within one standard error ({noise[chosen]:.3f})"
    return f"{'shared by others and ' if chosen == shared else 'smaller and '}{gap}"


def _standing(
    metric: Metric, shared: Sequence[Prediction], one: Sequence[Prediction], plan: BootstrapPlan
) -> Standing:
    score = corpus_score(metric, one)
    differences, _ = resampled(metric, shared, one, plan)
    interval = percentile_interval(differences, score - corpus_score(metric, shared), plan.confidence)
    return Standing(score, interval.difference, interval.low, interval.high, float(differences.std()))


def costs(base_parameters: int, candidates: Sequence[Candidate], shipped: Mapping[str, str]) -> dict[str, Any]:
    """What a routing table costs: parameters with one backbone, against a whole model per task.

    Args:
        base_parameters: of the backbone.
        candidates: all that could be shipped.
        shipped: task -> candidate.

    Returns:
        {"base", "adapters", "together", "separate", "ratio", "shipped": [name], "droppable": [name]}, in parameters.
    """
    used = [c for c in candidates if c.name in set(shipped.values()) and c.role != "base"]
    adapters = sum(candidate.parameters for candidate in used)
    separate = len(shipped) * base_parameters
    droppable = [c.name for c in candidates if c not in used and c.role != "base"]
    return {
        "base": base_parameters,
        "adapters": adapters,
        "together": base_parameters + adapters,
        "separate": separate,
        "ratio": (base_parameters + adapters) / separate,
        "shipped": [candidate.name for candidate in used],
        "droppable": droppable,
    }
