"""Which adapter each task ships with, chosen on validation: the shared one unless another is better beyond luck.

The rule, per task:

1. The shared adapter stays unless others are ahead of it by more than luck: more than the best of as many candidates
   that are all as good as it would show in one case of twenty. The best of those ships, or of those within one
   standard error of the best the one with the fewest parameters.
2. Where the scores cannot tell, the likelihood of the right answers may: of the adapters whose score is not behind,
   the one ships whose loss on the same rows is lowest, if it is lower than the shared one's by more than luck, again
   in one case of twenty. A few dozen rows move a score in steps; their losses move as soon as anything is learned.
3. The base ships instead where the shared adapter scored less than it, or where another is not ahead of it beyond
   luck, too: an adapter that was picked among several looks better than it is.

Where no adapter is shared, the base stands in its place. So where all candidates are equally good, the shared adapter
or the base ships in nine cases of ten, however many others there are.

Sources: luck is the largest studentised difference under the bootstrap, as in White 2000 (a reality check for data
snooping) and Westfall & Young 1993; one standard error is Breiman et al. 1984, section 3.4.3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from multitune.core.records import Prediction
from multitune.evaluation.stats import BootstrapPlan, mean_differences, percentile_interval
from multitune.evaluation.transfer import corpus_score, resampled
from multitune.model.bank import BASE
from multitune.tasks.metrics import Metric

LUCK = 0.05  # chance, by score and again by loss, that another ships where all are as good as the one that stays
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
    shared = next((c.name for c in candidates if c.role == "shared"), BASE)
    scores = _by_score(metric, {name: said[name] for name in by_name}, plan)
    chosen, why = _picked(by_name, shared, scores)
    losses = _by_loss({name: said[name] for name in by_name if name != BASE}, plan)
    if chosen == shared != BASE and losses:
        chosen, why = _likelier(shared, losses, scores.value) or (chosen, why)
    standings = {name: _standing(metric, said[shared], said[name], plan) for name in by_name}
    return Choice(task, metric.name, len(said[chosen]), chosen, why, standings)


@dataclass(frozen=True, slots=True)
class _Race:
    """Values of candidates on the same rows, higher is better, and how far one must be ahead of another."""

    value: Mapping[str, float]
    leads: Callable[[str, str], np.ndarray]  # (behind, name) -> leads on resamples, the same rows for every pair

    def luck(self, behind: str) -> dict[str, float]:
        """Candidate -> the lead over `behind` that luck explains, if all are as good as that one."""
        others = [name for name in self.value if name != behind]
        resampled_leads = {name: self.leads(behind, name) for name in others}
        noise = {name: float(leads.std()) for name, leads in resampled_leads.items()}
        moving = [name for name in others if noise[name] > 0.0]
        if not moving:
            return dict.fromkeys(others, 0.0)
        away = [(resampled_leads[name] - self.lead(name, behind)) / noise[name] for name in moving]
        largest = np.maximum(0.0, np.max(away, axis=0))  # (resample,)
        return {name: float(np.quantile(largest, 1.0 - LUCK)) * noise[name] for name in others}

    def lead(self, name: str, behind: str) -> float:
        """How far one candidate is ahead of another."""
        return self.value[name] - self.value[behind]

    def noise(self, name: str, best: str) -> float:
        """One standard error of the difference of two."""
        return float(self.leads(name, best).std())


def _by_score(metric: Metric, said: Mapping[str, Sequence[Prediction]], plan: BootstrapPlan) -> _Race:
    score = {name: corpus_score(metric, rows) for name, rows in said.items()}
    return _Race(score, lambda behind, name: resampled(metric, said[behind], said[name], plan)[0])


def _by_loss(said: Mapping[str, Sequence[Prediction]], plan: BootstrapPlan) -> _Race | None:
    """By how likely the right answers were; None where that was not measured."""
    gains = {name: [-row.loss for row in rows if row.loss is not None] for name, rows in said.items()}
    if any(len(gains[name]) < len(rows) for name, rows in said.items()):
        return None
    value = {name: float(np.mean(gain)) for name, gain in gains.items()}
    return _Race(value, lambda behind, name: mean_differences(gains[behind], gains[name], plan))


def _picked(by_name: Mapping[str, Candidate], shared: str, race: _Race) -> tuple[str, str]:
    """The candidate that ships, and why."""
    score, among = race.value, len(by_name) - 1
    luck = race.luck(shared)
    first = max(by_name, key=lambda name: (score[name], name == shared, -by_name[name].parameters))
    ahead = [name for name in luck if race.lead(name, shared) > luck[name]]
    if not ahead:
        if shared != BASE and race.lead(BASE, shared) > 0.0:
            return BASE, f"{shared} is {race.lead(BASE, shared):.3f} behind it, and no other is safely ahead"
        if first == shared:
            runner_up = max(luck, key=lambda name: score[name], default=shared)
            return shared, f"best, {score[shared]:.3f}; next {runner_up} {score[runner_up]:.3f}"
        behind = f"{race.lead(first, shared):.3f} behind {first}"
        return shared, f"{behind}, which luck explains ({_among(luck[first], among)})"
    best = max(ahead, key=lambda name: (score[name], -by_name[name].parameters))
    level = [name for name in ahead if race.lead(best, name) <= race.noise(name, best)]
    chosen = min(level, key=lambda name: (by_name[name].parameters, -score[name]))
    over_base = race.luck(BASE).get(chosen, 0.0)
    if chosen != BASE and race.lead(chosen, BASE) <= over_base:
        lead = f"{chosen} is {race.lead(chosen, BASE):.3f} ahead of it"
        return BASE, f"{lead}, which luck explains ({_among(over_base, among)})"
    why = f"{race.lead(chosen, shared):.3f} ahead of {shared}, beyond luck ({_among(luck[chosen], among)})"
    return chosen, why if chosen == best else f"{why}; smaller than {best}, and level with it"


def _likelier(shared: str, race: _Race, score: Mapping[str, float]) -> tuple[str, str] | None:
    """The adapter that finds the right answers likelier than the shared one beyond luck, and scores no less."""
    luck = race.luck(shared)
    ahead = [name for name in luck if race.lead(name, shared) > luck[name] and score[name] >= score[shared]]
    if not ahead:
        return None
    best = max(ahead, key=lambda name: race.value[name])
    lead = f"loss {race.lead(best, shared):.3f} below {shared}'s, beyond luck ({_among(luck[best], len(luck))})"
    return best, f"{lead}; score not behind"


def _among(luck: float, candidates: int) -> str:
    return f"up to {luck:.3f} among {candidates}"


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
