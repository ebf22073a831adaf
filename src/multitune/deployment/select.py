"""Which adapter each task ships with, chosen on validation: the shared one unless another is significantly better.

The rule, per task:

1. The shared adapter stays unless others are ahead of it by more than the null margin: what the best of as many
   candidates that are all as good as it would show in one case of twenty (max-T bootstrap, alpha 0.05). The best of
   those ships, or of those within one standard error of the best the one with the fewest parameters.
2. Where the scores cannot tell, the likelihood of the right answers may: of the adapters whose score is not behind,
   the one ships whose loss on the same rows is lowest, if it is lower than the shared one's by more than the null
   margin of losses. A few dozen rows move a score in steps; their losses move as soon as anything is learned.
3. The base ships instead where the shared adapter scored less than it, or where another is not ahead of it by more
   than the null margin, too: an adapter that was picked among several looks better than it is.

Where no adapter is shared, the base stands in its place. So where all candidates are equally good, the shared adapter
or the base ships in nine cases of ten, however many others there are.

Sources: the null margin is that of core.null_margin, once by score and once by loss; one standard error is Breiman et
al. 1984, section 3.4.3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from multitune.core.bases import BASE
from multitune.core.null_margin import null_margins
from multitune.core.records import Prediction
from multitune.core.results.routing import DeploymentCost, Role, RoutingChoice, Standing
from multitune.evaluation.resampling import corpus_score, resampled
from multitune.evaluation.stats import BootstrapPlan, mean_differences, percentile_interval
from multitune.tasks.metrics import Metric


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that could answer a task."""

    name: str
    role: Role
    parameters: int  # beyond the base
    path: str = ""  # its folder in the run; empty for the base


def choose(
    metric: Metric,
    candidates: Sequence[Candidate],
    answers: Mapping[str, Sequence[Prediction]],
    plan: BootstrapPlan,
) -> RoutingChoice:
    """The candidate that a task ships with.

    Args:
        metric: what it is measured by.
        candidates: all that could answer it.
        answers: candidate -> predictions on the same validation rows in the same order.
        plan: resamples, confidence and seed of the intervals.
    """
    by_name = {candidate.name: candidate for candidate in candidates}
    shared = next((c.name for c in candidates if c.role == "shared"), BASE)
    scores = _by_score(metric, {name: answers[name] for name in by_name}, plan)
    chosen, why = _picked(by_name, shared, scores)
    losses = _by_loss({name: answers[name] for name in by_name if name != BASE}, plan)
    if chosen == shared != BASE and losses:
        chosen, why = _likelier(shared, losses, scores.value) or (chosen, why)
    standings = {name: _standing(metric, answers[shared], answers[name], plan) for name in by_name}
    return RoutingChoice(
        adapter=chosen,
        path=by_name[chosen].path,
        metric=metric.name,
        examples=len(answers[chosen]),
        why=why,
        standings=standings,
    )


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Values of candidates on the same rows, higher is better, and how far one must be ahead of another."""

    value: Mapping[str, float]
    leads: Callable[[str, str], np.ndarray]  # (behind, name) -> leads on resamples, the same rows for every pair

    def null_margin(self, behind: str) -> dict[str, float]:
        """Candidate -> the lead over `behind` that chance explains, if all are as good as that one."""
        others = [name for name in self.value if name != behind]
        if not others:
            return {}
        resampled_leads = np.array([self.leads(behind, name) for name in others])  # (candidate, resample)
        margins = null_margins(resampled_leads, np.array([self.lead(name, behind) for name in others]))
        return dict(zip(others, margins.tolist(), strict=True))

    def lead(self, name: str, behind: str) -> float:
        """How far one candidate is ahead of another."""
        return self.value[name] - self.value[behind]

    def noise(self, name: str, best: str) -> float:
        """One standard error of the difference of two."""
        return float(self.leads(name, best).std())


def _by_score(metric: Metric, answers: Mapping[str, Sequence[Prediction]], plan: BootstrapPlan) -> _Comparison:
    score = {name: corpus_score(metric, rows) for name, rows in answers.items()}
    return _Comparison(score, lambda behind, name: resampled(metric, answers[behind], answers[name], plan)[0])


def _by_loss(answers: Mapping[str, Sequence[Prediction]], plan: BootstrapPlan) -> _Comparison | None:
    """By how likely the right answers were; None where that was not measured."""
    gains = {name: [-row.loss for row in rows if row.loss is not None] for name, rows in answers.items()}
    if any(len(gains[name]) < len(rows) for name, rows in answers.items()):
        return None
    value = {name: float(np.mean(gain)) for name, gain in gains.items()}
    return _Comparison(value, lambda behind, name: mean_differences(gains[behind], gains[name], plan))


def _picked(by_name: Mapping[str, Candidate], shared: str, compared: _Comparison) -> tuple[str, str]:
    """The candidate that ships, and why."""
    score, among = compared.value, len(by_name) - 1
    margin = compared.null_margin(shared)
    first = max(by_name, key=lambda name: (score[name], name == shared, -by_name[name].parameters))
    ahead = [name for name in margin if compared.lead(name, shared) > margin[name]]
    if not ahead:
        if shared != BASE and compared.lead(BASE, shared) > 0.0:
            return BASE, f"{shared} is {compared.lead(BASE, shared):.3f} behind it, and no other is safely ahead"
        if first == shared:
            runner_up = max(margin, key=lambda name: score[name], default=shared)
            return shared, f"best, {score[shared]:.3f}; next {runner_up} {score[runner_up]:.3f}"
        behind = f"{compared.lead(first, shared):.3f} behind {first}"
        return shared, f"{behind}, within the null margin ({_among(margin[first], among)})"
    best = max(ahead, key=lambda name: (score[name], -by_name[name].parameters))
    level = [name for name in ahead if compared.lead(best, name) <= compared.noise(name, best)]
    chosen = min(level, key=lambda name: (by_name[name].parameters, -score[name]))
    over_base = compared.null_margin(BASE).get(chosen, 0.0)
    if chosen != BASE and compared.lead(chosen, BASE) <= over_base:
        lead = f"{chosen} is {compared.lead(chosen, BASE):.3f} ahead of it"
        return BASE, f"{lead}, within the null margin ({_among(over_base, among)})"
    beyond = f"beyond the null margin ({_among(margin[chosen], among)})"
    why = f"{compared.lead(chosen, shared):.3f} ahead of {shared}, {beyond}"
    return chosen, why if chosen == best else f"{why}; smaller than {best}, and level with it"


def _likelier(shared: str, compared: _Comparison, score: Mapping[str, float]) -> tuple[str, str] | None:
    """The adapter that finds the right answers likelier than the shared one beyond margin, and scores no less."""
    margin = compared.null_margin(shared)
    ahead = [name for name in margin if compared.lead(name, shared) > margin[name] and score[name] >= score[shared]]
    if not ahead:
        return None
    best = max(ahead, key=lambda name: compared.value[name])
    explained = _among(margin[best], len(margin))
    lead = f"loss {compared.lead(best, shared):.3f} below {shared}'s, beyond the null margin ({explained})"
    return best, f"{lead}; score not behind"


def _among(margin: float, candidates: int) -> str:
    return f"up to {margin:.3f} among {candidates}"


def _standing(
    metric: Metric, shared: Sequence[Prediction], one: Sequence[Prediction], plan: BootstrapPlan
) -> Standing:
    score = corpus_score(metric, one)
    differences, _ = resampled(metric, shared, one, plan)
    interval = percentile_interval(differences, score - corpus_score(metric, shared), plan.confidence)
    return Standing(
        score=score,
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        standard_error=float(differences.std()),
    )


def costs(base_parameters: int, candidates: Sequence[Candidate], shipped: Mapping[str, str]) -> DeploymentCost:
    """What a routing table costs: parameters with one backbone, against a whole model per task.

    Args:
        base_parameters: of the backbone.
        candidates: all that could be shipped.
        shipped: task -> candidate.
    """
    used = [c for c in candidates if c.name in set(shipped.values()) and c.role != "base"]
    if used:  # the shared adapter answers what may be of several tasks, whatever they ship with
        used = [c for c in candidates if c in used or c.role == "shared"]
    adapters = sum(candidate.parameters for candidate in used)
    separate = len(shipped) * base_parameters
    return DeploymentCost(
        base=base_parameters,
        adapters=adapters,
        together=base_parameters + adapters,
        separate=separate,
        ratio=(base_parameters + adapters) / separate,
        shipped=tuple(candidate.name for candidate in used),
        droppable=tuple(c.name for c in candidates if c not in used and c.role != "base"),
    )
