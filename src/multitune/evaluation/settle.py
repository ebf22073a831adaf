"""What a comparison could have seen, and how many rows or seeds, or both, would settle what it could not."""

from math import ceil

from multitune.core.results.scores import Settle, TransferRow
from multitune.evaluation.seeds import DifferenceError
from multitune.evaluation.stats import BootstrapPlan

POWER = 0.8  # of a test for the smallest difference that it can show
MOST_TIMES = 100  # more of anything than so many times what there is, is no advice


def detectable(error: DifferenceError, tasks: int, plan: BootstrapPlan) -> float:
    """The smallest true difference that such a test shows in four of five cases, in the metric's unit.

    Args:
        error: of the difference.
        tasks: that p is adjusted for; the strictest of Holm's levels counts.
        plan: holds the confidence.

    Source: (quantile of the two-sided level + quantile of the power) standard errors, as in Cohen 1988, chapter 2;
    quantiles of Student's t, since the error is an estimate.
    """
    return error.total * _quantiles(error.freedom, tasks, plan)


def settle(row: TransferRow, error: DifferenceError, tasks: int, plan: BootstrapPlan) -> Settle:
    """How many rows, or else seeds, or else both, would show a difference like that of a row in four of five cases.

    Args:
        row: the task as it was compared.
        error: of its difference.
        tasks: that p is adjusted for.
        plan: holds the confidence.
    """
    needed = (row.difference / _quantiles(float("inf"), tasks, plan)) ** 2  # the variance that would do
    rows = _times(error.rows, needed - error.seeds)
    # One seed shows nothing of what further ones would average away.
    seeds = _times(error.seeds, needed - error.rows) if row.seeds > 1 else None
    found = Settle(rows=_more(row.examples, rows), seeds=_more(row.seeds, seeds))
    if found.rows or found.seeds or row.seeds == 1:
        return found
    both = _times(error.rows + error.seeds, needed)
    more_rows, more_seeds = _more(row.examples, both), _more(row.seeds, both)
    return found.model_copy(update={"both": (more_rows, more_seeds)}) if more_rows and more_seeds else found


def _more(count: int, times: float | None) -> int | None:
    return None if times is None else max(count + 1, ceil(count * times))


def _times(variance: float, allowed: float) -> float | None:
    """What a part of the variance must be divided by to be no larger than allowed; None where that is no advice."""
    if allowed <= 0.0 or variance / allowed > MOST_TIMES:
        return None
    return variance / allowed


def _quantiles(freedom: float, tasks: int, plan: BootstrapPlan) -> float:
    from scipy.stats import t

    level = 1.0 - (1.0 - plan.confidence) / (2 * tasks)
    return float(t.ppf(level, freedom) + t.ppf(POWER, freedom))
