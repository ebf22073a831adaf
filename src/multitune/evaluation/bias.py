"""Scores on suites of social bias, of what ships against the base on the same items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from multitune.core.bases import BASE
from multitune.core.events import Observe, unwatched
from multitune.core.multiplicity import holm
from multitune.core.results.events import ProgressEvent
from multitune.core.results.robustness import SIDES, Bias, BiasChange
from multitune.evaluation.bias_suites import BiasMeasure, Item, SuiteItems
from multitune.evaluation.stats import BootstrapPlan, percentile_interval, scores_from_statistics, swap_p
from multitune.evaluation.transfer import side
from multitune.inference.language_model import LanguageModel
from multitune.tasks.sufficient_statistics import SufficientStatistics

LEAST_ITEMS = 20  # of a category, to be measured by itself
ITEMS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Arms:
    """What the choices of base and adapter add up to in each cluster of items, float64 (cluster, count) each."""

    base: np.ndarray
    ours: np.ndarray
    items: int


def measure_bias(
    suites: Sequence[SuiteItems],
    models: Mapping[str, LanguageModel],
    adapters: Sequence[str],
    plan: BootstrapPlan,
    observe: Observe = unwatched,
) -> Bias:
    """Every suite for each adapter against the base; also by category.

    Intervals resample clusters of items, the same ones for both, since items of one template are no independent
    evidence; p exchanges the two models' choices cluster by cluster. Holm adjusts p over the suites and adapters, and
    apart from that over all categories.

    Args:
        suites: of `read_suite`.
        models: the base and the adapters, by name.
        adapters: those that ship.
        plan: resamples, confidence and seed.
        observe: gets the progress.

    Raises:
        MultituneError: see `LanguageModel`.
    """
    found: list[BiasChange] = []
    left_out = {} if adapters else {"all suites": "every task ships with the base"}
    for suite in suites if adapters else ():
        readable = _readable(suite.items, models[BASE])
        if dropped := len(suite.items) - len(readable):
            left_out[suite.suite] = f"{dropped} items are longer than the base reads"
        if not readable:
            continue
        base = _choices(models[BASE], readable, f"{suite.suite}, base", observe)
        for adapter in adapters:
            ours = _choices(models[adapter], readable, f"{suite.suite}, {adapter}", observe)
            for category, places in _categories(readable):
                arms = _arms([readable[at] for at in places], base[places], ours[places])
                found += [_change(suite, measure, adapter, category, arms, plan) for measure in suite.measures]
    return Bias(changes=tuple(_decided(found, plan)), left_out=left_out)


def _readable(items: Sequence[Item], model: LanguageModel) -> list[Item]:
    longest = [max(item.options, key=lambda option: len(option.answer)) for item in items]
    return [item for item, fits in zip(items, model.are_readable(longest), strict=True) if fits]


def _choices(model: LanguageModel, items: Sequence[Item], what: str, observe: Observe) -> np.ndarray:
    """The likeliest option of each item, by the sum over its tokens; the first of equals; int64 (item,)."""
    found: list[int] = []
    for start in range(0, len(items), ITEMS_AT_ONCE):
        batch = items[start : start + ITEMS_AT_ONCE]
        nats = model.loglikelihood([option for item in batch for option in item.options]).nats
        ends = np.cumsum([len(item.options) for item in batch])[:-1]
        found += [int(np.argmax(one)) for one in np.split(nats, ends)]
        observe(ProgressEvent(what=f"items of {what}", done=len(found), of=len(items)))
    return np.array(found)


def _categories(items: Sequence[Item]) -> Iterator[tuple[str, np.ndarray]]:
    """All items under an empty name; then those of each category, where there are several and enough."""
    names = np.array([item.category for item in items])
    yield "", np.arange(len(items))
    each, counts = np.unique(names, return_counts=True)
    for name, count in zip(each.tolist(), counts.tolist(), strict=True):
        if LEAST_ITEMS <= count < len(items):
            yield name, np.flatnonzero(names == name)


def _arms(items: Sequence[Item], base: np.ndarray, ours: np.ndarray) -> _Arms:
    clusters = {name: place for place, name in enumerate(dict.fromkeys(item.cluster for item in items))}
    sums = np.zeros((2, len(clusters), len(items[0].adds[0])))
    for item, *chosen in zip(items, base.tolist(), ours.tolist(), strict=True):
        for arm, option in enumerate(chosen):
            sums[arm, clusters[item.cluster]] += item.adds[option]
    return _Arms(sums[0], sums[1], len(items))


def _change(
    suite: SuiteItems, measure: BiasMeasure, adapter: str, category: str, arms: _Arms, plan: BootstrapPlan
) -> BiasChange:
    base, ours = (SufficientStatistics(counts, measure.read) for counts in (arms.base, arms.ours))
    drawn = scores_from_statistics(ours, plan) - scores_from_statistics(base, plan)
    difference = ours.score - base.score
    p = swap_p(base, ours, plan)
    return BiasChange(
        suite=suite.suite,
        measure=measure.name,
        neutral=measure.neutral,
        adapter=adapter,
        category=category,
        items=arms.items,
        clusters=len(arms.base),
        base=base.score,
        score=ours.score,
        **dict(percentile_interval(drawn, difference, plan.confidence)),
        p=p,
        p_holm=p,
        verdict="cannot tell",
    )


def _decided(found: Sequence[BiasChange], plan: BootstrapPlan) -> list[BiasChange]:
    """With p adjusted: over whole suites, and over categories apart from that."""
    p_holm = {
        place: p
        for whole in (True, False)
        for place, p in holm({at: one.p for at, one in enumerate(found) if (not one.category) == whole}).items()
    }
    return [
        one.model_copy(update={"p_holm": p_holm[at], "verdict": SIDES[side(one, p_holm[at], plan.confidence)]})
        for at, one in enumerate(found)
    ]
