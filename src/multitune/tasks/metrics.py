"""The scores a task can ask for, in one registry: over a set of examples, and for one example alone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from math import isfinite, log2
from typing import Any, cast, get_args

import numpy as np

from multitune.config.task import Kind, TaskConfig
from multitune.core.errors import PluginError, TaskError, suggest
from multitune.core.plugins import Group, guarded, load_plugin, plugin_fault, plugin_names
from multitune.tasks import sufficient_statistics as statistics
from multitune.tasks.sufficient_statistics import SufficientStatistics, Values, label_numbers
from multitune.tasks.text_metrics import alike, bleu, bleu_example, chrf, rouge_l

GROUP: Group = "multitune.metrics"  # of entry points by which other packages add to these


@dataclass(frozen=True, slots=True)
class Metric:
    """One score; higher is always better, and a value of None (an output that could not be read) is wrong."""

    name: str
    about: str  # one line for a reader
    kinds: frozenset[Kind]  # kinds of task it suits
    corpus: Callable[[Values, Values], float]  # (values, golds), both at least one long -> 0..1; correlations -1..1
    example: Callable[[Any, Any], float]  # (value, gold) -> 0..1
    right_wrong: bool  # whether `example` is 1 or 0, so that McNemar's test applies to it
    statistics: Callable[[Values, Values], SufficientStatistics] | None = (
        None  # the corpus metric by sums, where it follows from these
    )


DEFAULTS: Mapping[Kind, str] = {
    "classify": "macro_f1",
    "choice": "accuracy",
    "generate": "rouge_l",
    "labels": "micro_f1",
    "number": "numeric_match",
    "regress": "pearson",
    "tag": "entity_f1",
    "text": "token_likelihood",
}


def metric_for(config: TaskConfig) -> Metric:
    """The metric of a task: the one it names or its kind's default, bound to the task's tolerance.

    Raises:
        TaskError: no such metric, or it does not suit the task's kind.
    """
    kind = config.known_kind
    name = config.metric or DEFAULTS[kind]
    metric = METRICS.get(name) or _plugin(name)
    if metric is None:
        raise TaskError(f"task {config.name!r}: metric is {name!r}. {suggest(name, _suited(kind))}")
    if kind not in metric.kinds:
        kinds = " or ".join(one for one in get_args(Kind) if one in metric.kinds)
        raise TaskError(
            f"task {config.name!r}: metric {name!r} is for kind {kinds}, not {kind}. {suggest(name, _suited(kind))}"
        )
    if name != "numeric_match":
        return metric
    example = partial(_close, tolerance=config.tolerance)
    return replace(metric, corpus=_mean_of(example), example=example)


def _suited(kind: Kind) -> list[str]:
    """Names of the metrics for a kind of task; a plugin that is broken is none of them."""
    names = [metric.name for metric in METRICS.values() if kind in metric.kinds]
    for name in plugin_names(GROUP):
        with suppress(PluginError):
            metric = _plugin(name)
            if metric and kind in metric.kinds:
                names.append(name)
    return names


@cache
def _plugin(name: str) -> Metric | None:
    """The metric that another package offers under a name, if any, with its faults reported as that package's."""
    found = load_plugin(GROUP, name)
    if found is None:
        return None
    if not isinstance(found, Metric) or found.name != name:
        raise plugin_fault(GROUP, name, "is no Metric of that name (multitune.tasks.metrics.Metric)")
    return replace(found, corpus=guarded(GROUP, name, found.corpus), example=guarded(GROUP, name, found.example))


def _mean_of(example: Callable[[Any, Any], float]) -> Callable[[Values, Values], float]:
    def corpus(values: Values, golds: Values) -> float:
        return sum(example(value, gold) for value, gold in zip(values, golds, strict=True)) / len(golds)

    return corpus


# Labels: a value is a label, a sequence of labels, or None.


def _same(value: Any, gold: Any) -> float:
    if isinstance(gold, list | tuple):
        return float(value is not None and set(value) == set(cast(Sequence[str], gold)))
    return float(value == gold)


def _macro_f1(values: Values, golds: Values) -> float:
    from sklearn.metrics import f1_score

    if not isinstance(golds[0], str):  # scikit-learn would take sets of a single label for two classes
        return statistics.macro_f1(values, golds).score
    predicted, true, classes = label_numbers(values, golds)
    return float(f1_score(true, predicted, labels=classes, average="macro"))


def _labels_alike(value: Sequence[str] | None, gold: Sequence[str]) -> float:
    return statistics.micro_f1([value], [gold]).score


def _micro_f1(values: Values, golds: Values) -> float:
    return statistics.micro_f1(values, golds).score


def _hierarchical_f1(values: Values, golds: Values) -> float:
    return statistics.hierarchical_f1(values, golds).score


def _paths_alike(value: str | None, gold: str) -> float:
    return statistics.hierarchical_f1([value], [gold]).score


def _jaccard(value: Sequence[str] | None, gold: Sequence[str]) -> float:
    """Labels in both over labels in either; two empty sets are alike."""
    either = len({*(value or ()), *gold})
    if value is None:
        return 0.0
    return len(set(value).intersection(gold)) / either if either else 1.0


def _balanced(values: Values, golds: Values) -> float:
    from sklearn.metrics import recall_score

    predicted, true, _ = label_numbers(values, golds)
    # The mean recall over the classes that occur; balanced_accuracy_score warns of predicted ones that do not.
    return float(recall_score(true, predicted, labels=np.unique(true), average="macro"))


def _matthews(values: Values, golds: Values) -> float:
    from sklearn.metrics import matthews_corrcoef

    predicted, true, _ = label_numbers(values, golds)
    # Where only one label occurs there is nothing to distinguish, and scikit-learn would warn.
    return float(matthews_corrcoef(true, predicted)) if np.unique(true).size > 1 else 0.0


# Ranks: a value is the rank of the right option, 1 for the first; or the option that was chosen, where that is all.


def _rank(value: int | str | None, gold: str) -> float:
    """Of the right option; without end where another one was chosen and no ranks are known."""
    return value if isinstance(value, int) else 1 if value == gold else float("inf")


def _reciprocal_rank(value: int | str | None, gold: str) -> float:
    return 1 / _rank(value, gold)


def _ndcg(value: int | str | None, gold: str) -> float:
    """Of one right option, the best that there can be is 1."""
    return 1 / log2(1 + _rank(value, gold))


def _found(value: int | str | None, gold: str, first: int) -> float:
    return float(_rank(value, gold) <= first)


# Numbers: a value is a float or None.


def _close(value: float | None, gold: float, tolerance: float = 0.01) -> float:
    return float(value is not None and abs(value - gold) <= max(tolerance * abs(gold), 1e-9))


def _nearness(value: float | None, gold: float) -> float:
    return 0.0 if value is None else 1 / (1 + abs(value - gold))


def _pearson(values: Values, golds: Values) -> float:
    from scipy.stats import pearsonr

    return _correlation(pearsonr, values, golds)


def _spearman(values: Values, golds: Values) -> float:
    from scipy.stats import spearmanr

    return _correlation(spearmanr, values, golds)


def _correlation(test: Callable[[np.ndarray, np.ndarray], Any], values: Values, golds: Values) -> float:
    """0 where a side is constant; an unreadable value stands at the mean of the others, where it has no influence."""
    readable = [value for value in values if value is not None]
    if len(readable) < 2:
        return 0.0
    middle = float(np.mean(readable))
    sides = np.array([middle if value is None else value for value in values]), np.asarray(golds, dtype=float)
    if any(np.ptp(side) <= 1e-12 * np.abs(side).max() for side in sides):
        return 0.0
    result = float(test(*sides).statistic)
    return result if isfinite(result) else 0.0


# Entities: a value is a sequence of (text, TYPE) or None.


def _entities_alike(value: Sequence[Sequence[str]] | None, gold: Sequence[Sequence[str]]) -> float:
    return statistics.entities([value], [gold]).score


def _entity_f1(values: Values, golds: Values) -> float:
    return statistics.entities(values, golds).score


def _likelihood(value: float | None, gold: str) -> float:
    return value or 0.0


_LABEL: frozenset[Kind] = frozenset({"classify"})
_SETS: frozenset[Kind] = frozenset({"labels"})
_OPTION: frozenset[Kind] = frozenset({"choice"})
_AMOUNT: frozenset[Kind] = frozenset({"number", "regress"})
_TAG: frozenset[Kind] = frozenset({"tag"})
_TEXT: frozenset[Kind] = frozenset({"generate"})
_WHOLE: frozenset[Kind] = frozenset({"text"})

_RANKINGS = (
    Metric(
        "mrr", "Mean of 1 / rank of the right option.", _OPTION, _mean_of(_reciprocal_rank), _reciprocal_rank, False
    ),
    Metric("ndcg", "Mean of 1 / log2(1 + rank of the right option).", _OPTION, _mean_of(_ndcg), _ndcg, False),
    *(
        Metric(
            f"recall_at_{first}",
            f"Share of rows whose right option is among the first {first}.",
            _OPTION,
            _mean_of(partial(_found, first=first)),
            partial(_found, first=first),
            True,
        )
        for first in (3, 5, 10)
    ),
)
RANKINGS = frozenset(metric.name for metric in _RANKINGS)  # whose value is a rank

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *_RANKINGS,
        Metric(
            "accuracy",
            "Share of labels, options or whole sets of labels that are right.",
            _LABEL | _OPTION | _SETS,
            _mean_of(_same),
            _same,
            True,
        ),
        Metric(
            "macro_f1",
            "Mean over the labels of each one's F1.",
            _LABEL | _SETS,
            _macro_f1,
            _same,
            True,
            statistics.macro_f1,
        ),
        Metric(
            "micro_f1",
            "F1 of all labels of all rows.",
            _SETS,
            _micro_f1,
            _labels_alike,
            False,
            statistics.micro_f1,
        ),
        Metric(
            "jaccard", "Mean over rows of shared labels by all labels.", _SETS, _mean_of(_jaccard), _jaccard, False
        ),
        Metric(
            "balanced_accuracy",
            "Mean recall over the labels.",
            _LABEL,
            _balanced,
            _same,
            True,
            statistics.balanced,
        ),
        Metric(
            "hierarchical_f1",
            "F1 of labels such as `animal > dog` and all that they are below.",
            _LABEL,
            _hierarchical_f1,
            _paths_alike,
            False,
            statistics.hierarchical_f1,
        ),
        Metric("matthews", "Correlation of labels, -1..1.", _LABEL, _matthews, _same, True),
        Metric("numeric_match", "Share of numbers within tolerance.", _AMOUNT, _mean_of(_close), _close, True),
        Metric("pearson", "Linear correlation of numbers, -1..1.", _AMOUNT, _pearson, _nearness, False),
        Metric("spearman", "Correlation of ranks, -1..1.", _AMOUNT, _spearman, _nearness, False),
        Metric(
            "entity_f1",
            "F1 of (text, type) pairs.",
            _TAG,
            _entity_f1,
            _entities_alike,
            False,
            statistics.entities,
        ),
        Metric("exact_match", "Share of texts alike but for case.", _TEXT, _mean_of(alike), alike, True),
        Metric("rouge_l", "Mean F of the longest common word sequence.", _TEXT, _mean_of(rouge_l), rouge_l, False),
        Metric("chrf", "Mean chrF over texts.", _TEXT, _mean_of(chrf), chrf, False),
        Metric("bleu", "BLEU over all texts.", _TEXT, bleu, bleu_example, False),
        Metric(
            "token_likelihood",
            "Mean over texts of 1 / perplexity.",
            _WHOLE,
            _mean_of(_likelihood),
            _likelihood,
            False,
        ),
    )
}
