"""What training together did to each task against training alone: gained, lost, or cannot tell.

With one training of each side the words are `ahead in this run` and `behind in this run`: resampled rows say nothing
of what another seed would have given. `helped` and `hurt` need several seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median

import numpy as np

from multitune.core.errors import RunFolderError
from multitune.core.multiplicity import holm
from multitune.core.records import Prediction
from multitune.core.results.scores import (
    UNDECIDED,
    Difference,
    LossDifference,
    TransferRow,
    TransferSummary,
    TransferTable,
    Verdict,
    verdicts_of,
)
from multitune.evaluation.resampling import corpus_score, resampled
from multitune.evaluation.seeds import DifferenceError, difference_error
from multitune.evaluation.settle import detectable, settle
from multitune.evaluation.stats import (
    BootstrapPlan,
    bootstrap_p,
    least_p,
    mcnemar,
    mean_differences,
    percentile_interval,
)
from multitune.tasks.metrics import Metric

SMALLEST_BASELINE = 0.05  # a change relative to less than this explodes


@dataclass(frozen=True, slots=True)
class Arms:
    """Predictions for the same examples of one task by the adapter of its own and by the one trained together."""

    alone: Sequence[Prediction]
    together: Sequence[Prediction]
    base: Sequence[Prediction] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One task's row as if it were the only one, and what the mean over the tasks is made of."""

    row: TransferRow
    drawn: np.ndarray  # mean difference over the seeds on each resample of the rows, float64 (resample,)
    before: np.ndarray  # score of the reference with each seed, (seed,)
    after: np.ndarray  # of the other arm, (seed,)
    discordant: int  # rows that the arms answer differently, with any seed

    @property
    def error(self) -> DifferenceError:
        """Of the difference, over rows and seeds."""
        return difference_error(self.drawn, self.before, self.after, self.row.examples)


def compare(arms: Mapping[str, Arms], metrics: Mapping[str, Metric], plan: BootstrapPlan) -> TransferTable:
    """The transfer table: for each task, together against alone.

    The interval is a paired bootstrap one. p tests the metric itself: exact McNemar where that is the share of right
    answers, else from the same bootstrap; then Holm adjusts it over the tasks. A verdict needs both, an interval
    without zero and an adjusted p below 1 − confidence; this is the stricter of the two, and all else is "cannot
    tell". Where answers are right or wrong and the metric is another one, such as macro-F1, McNemar stands beside
    it: it tests the share of right answers, which can stay the same while macro-F1 moves.

    Args:
        arms: task -> predictions, matched by id; their order is free.
        metrics: task -> its metric.
        plan: resamples, confidence, seed and margin.

    Raises:
        RunFolderError: two arms of a task hold different examples, an example twice, or none.
    """
    return compare_seeds({task: [pair] for task, pair in arms.items()}, metrics, plan)


def compare_seeds(
    arms: Mapping[str, Sequence[Arms]], metrics: Mapping[str, Metric], plan: BootstrapPlan
) -> TransferTable:
    """The transfer table where both sides of each task were trained with several seeds.

    Scores are means over the seeds; intervals and p count rows and training as chance (see evaluation.seeds). With a
    single seed it is `compare`.

    Args:
        arms: task -> one pair per seed, all on the same examples.
        metrics: task -> its metric.
        plan: resamples, confidence, seed and margin.
    """
    return _table([measure(task, pairs, metrics[task], plan) for task, pairs in arms.items()], plan)


def adjusted(rows: Sequence[TransferRow], confidence: float) -> list[TransferRow]:
    """The rows with p adjusted by Holm for their number, and the verdicts that follow; a task may come repeatedly."""
    p_values = holm({str(place): row.p for place, row in enumerate(rows)}).values()  # in the given order
    of_losses = holm({str(place): row.likelihood.p for place, row in enumerate(rows) if row.likelihood})
    found: list[TransferRow] = []
    for place, (row, p) in enumerate(zip(rows, p_values, strict=True)):
        likelihood = row.likelihood and row.likelihood.model_copy(update={"p_holm": of_losses[str(place)]})
        update = {"p_holm": p, "verdict": verdict(row, p, confidence, row.seeds), "likelihood": likelihood}
        found.append(row.model_copy(update=update))
    return found


def _table(measured: Sequence[Measured], plan: BootstrapPlan) -> TransferTable:
    rows = adjusted([one.row for one in measured], plan.confidence)
    table = TransferTable(tasks=tuple(rows), summary=summary(rows, _mean(measured, plan)))
    undecided = {one.row.task: one for one, row in zip(measured, rows, strict=True) if row.verdict in UNDECIDED}
    errors = {task: one.error for task, one in undecided.items()}
    update = {
        "detectable": {task: detectable(error, len(rows), plan) for task, error in errors.items()},
        "settle": {task: settle(undecided[task].row, error, len(rows), plan) for task, error in errors.items()},
        "margin": plan.margin,
        "no_worse": tuple(row.task for row in rows if row.no_worse),
    }
    return table.model_copy(update={"summary": table.summary.model_copy(update=update)})


def _mean(measured: Sequence[Measured], plan: BootstrapPlan) -> Difference:
    """The mean difference over the tasks, with its interval."""
    drawn = np.mean([one.drawn for one in measured], axis=0)
    mean = fmean(one.row.difference for one in measured)
    if len(measured[0].before) == 1:
        return percentile_interval(drawn, mean, plan.confidence)
    before, after = (np.mean(values, axis=0) for values in zip(*((m.before, m.after) for m in measured), strict=True))
    error = difference_error(drawn, before, after, min(one.row.examples for one in measured))
    return error.interval(mean, plan.confidence)


def measure(task: str, pairs: Sequence[Arms], metric: Metric, plan: BootstrapPlan) -> Measured:
    """One task with one pair of arms per seed, all on the same examples; p is not adjusted.

    Raises:
        RunFolderError: as of `compare`.
    """
    of_seeds = [_measured(task, pair, metric, plan) for pair in pairs]
    likelihood = _likelihood([_ordered(task, pair) for pair in pairs], plan)
    if len(of_seeds) == 1:
        (one,) = of_seeds
        return replace(one, row=one.row.model_copy(update={"likelihood": likelihood}))
    rows = [one.row for one in of_seeds]
    drawn = np.mean([one.drawn for one in of_seeds], axis=0)
    before, after = (np.concatenate([getattr(one, arm) for one in of_seeds]) for arm in ("before", "after"))
    error = difference_error(drawn, before, after, rows[0].examples)
    difference = fmean(row.difference for row in rows)
    interval = error.interval(difference, plan.confidence)
    both = [list(zip(*_ordered(task, pair), strict=True)) for pair in pairs]  # (seed, row)
    discordant = sum(any(a.value != b.value for a, b in row) for row in zip(*both, strict=True))
    p = max(error.p(difference), least_p(plan.resamples, discordant))
    bases = [row.base for row in rows if row.base is not None]
    row = rows[0].model_copy(
        update={
            "base": fmean(bases) if bases else None,
            "alone": float(before.mean()),
            "together": float(after.mean()),
            **dict(interval),
            "worst": worst(interval, rows[0].examples, plan.confidence),
            "p": p,
            "p_holm": p,
            "p_mcnemar": None,
            "seeds": len(pairs),
            "noise": float(np.sqrt(before.var(ddof=1) + after.var(ddof=1))),
            "likelihood": likelihood,
        }
    )
    return Measured(row, drawn, before, after, discordant)


def _likelihood(
    pairs: Sequence[tuple[list[Prediction], list[Prediction]]], plan: BootstrapPlan
) -> LossDifference | None:
    """How much likelier the right answers are under the other arm, over seeds and rows; None without losses."""
    losses = np.array([[[row.loss for row in arm] for arm in pair] for pair in pairs], dtype=np.float64)
    if not np.isfinite(losses).all():  # None becomes nan
        return None
    before, after = losses[:, 0], losses[:, 1]  # (seed, row)
    drawn = mean_differences(after.mean(0).tolist(), before.mean(0).tolist(), plan)
    error = difference_error(drawn, before.mean(1), after.mean(1), losses.shape[2])
    difference = float((before - after).mean())
    p = error.p(difference)
    return LossDifference(**dict(error.interval(difference, plan.confidence)), p=p, p_holm=p)


def worst(interval: Difference, rows: int, confidence: float) -> float:
    """The lowest difference that is not ruled out: no interval of resampled rows knows a loss that none of them shows.

    Of that, as much as would stay unseen in so many rows with a chance of half of 1 − confidence lies below as well.

    Source: the exact upper bound of a share of which nothing was seen (Hanley & Lippman-Hand 1983).
    """
    unseen = 1.0 - ((1.0 - confidence) / 2.0) ** (1.0 / rows)
    return min(interval.low, interval.difference - unseen)


def _ordered(task: str, pair: Arms) -> tuple[list[Prediction], list[Prediction]]:
    alone = _in_order(task, "alone", pair.alone)
    return alone, _matched(task, "together", pair.together, alone)


def verdict(interval: Difference, p: float, confidence: float, seeds: int = 1) -> Verdict:
    """Gained or lost where the interval leaves out zero and p is below 1 − confidence; else cannot tell."""
    gained, lost, neither = verdicts_of(seeds)
    return (neither, gained, lost)[side(interval, p, confidence)]  # -1 is the last


def side(interval: Difference, p: float, confidence: float) -> int:
    """1 or -1 where the interval leaves out zero on that side and p is below 1 − confidence; else 0."""
    if p >= 1.0 - confidence:
        return 0
    return int(interval.low > 0.0) - int(interval.high < 0.0)


def summary(transfers: Sequence[TransferRow], mean: Difference) -> TransferSummary:
    """Mean and median relative change and mean points over the tasks, and who gained or lost.

    Args:
        transfers: a row per task.
        mean: their mean difference, with its interval.

    Source: Δm of Maninis et al. 2019, arXiv:1904.08918. It explodes where a baseline is near zero, so those tasks
    are left out of it and named.
    """
    assert transfers, "a summary needs at least one task"
    counted = [row for row in transfers if abs(row.before) >= SMALLEST_BASELINE]
    changes = [row.difference / abs(row.before) for row in counted]
    return TransferSummary(
        delta_m=fmean(changes) if changes else None,
        median_change=median(changes) if changes else None,
        mean_points=100.0 * mean.difference,
        points_low=100.0 * mean.low,
        points_high=100.0 * mean.high,
        left_out=tuple(row.task for row in transfers if row not in counted),
        verdicts={
            name: tuple(row.task for row in transfers if row.verdict == name)
            for name in verdicts_of(max(row.seeds for row in transfers))
        },
    )


def _measured(task: str, arms: Arms, metric: Metric, plan: BootstrapPlan) -> Measured:
    """One task and one training of each side."""
    alone, together = _ordered(task, arms)
    before, after = corpus_score(metric, alone), corpus_score(metric, together)
    p_mcnemar = mcnemar(_right(alone), _right(together)) if metric.right_wrong else None
    differences, is_mean = resampled(metric, alone, together, plan)
    discordant = sum(a.value != b.value for a, b in zip(alone, together, strict=True))
    p = p_mcnemar if is_mean and p_mcnemar is not None else bootstrap_p(differences, discordant)
    interval = percentile_interval(differences, after - before, plan.confidence)
    row = TransferRow(
        task=task,
        metric=metric.name,
        base=None if arms.base is None else corpus_score(metric, _matched(task, "base", arms.base, alone)),
        alone=before,
        together=after,
        **dict(interval),
        p=p,
        p_holm=p,
        verdict=verdict(interval, p, plan.confidence),
        examples=len(alone),
        p_mcnemar=p_mcnemar,
        margin=plan.margin,
        worst=worst(interval, len(alone), plan.confidence),
    )
    return Measured(row, differences, np.array([before]), np.array([after]), discordant)


def _right(arm: list[Prediction]) -> list[bool]:
    return [row.score > 0.5 for row in arm]


def _in_order(task: str, name: str, arm: Sequence[Prediction]) -> list[Prediction]:
    """By id, so that the order of a file moves no interval."""
    rows = sorted(arm, key=lambda row: row.id)
    if not rows:
        raise RunFolderError(f"task {task!r}: the predictions of {name!r} are empty. Evaluate it again")
    twice = [row.id for row, after in pairwise(rows) if row.id == after.id]
    if twice:
        raise RunFolderError(f"task {task!r}: {name!r} holds example {twice[0]!r} twice. Evaluate it again")
    return rows


def _matched(task: str, name: str, arm: Sequence[Prediction], alone: list[Prediction]) -> list[Prediction]:
    rows = _in_order(task, name, arm)
    unmatched = {row.id for row in rows} ^ {row.id for row in alone}
    if unmatched:
        raise RunFolderError(
            f"task {task!r}: {name!r} ({len(rows)} examples) and 'alone' ({len(alone)}) hold different examples, such "
            f"as {min(unmatched)!r}. Evaluate both on the same split with the same limit"
        )
    return rows
