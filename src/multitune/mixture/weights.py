"""Pure maths of mixtures: from sizes, progress and losses to the share of each task."""

from collections.abc import Mapping

from multitune.core.errors import MixtureError

Losses = Mapping[str, tuple[float, float, float]]  # task -> validation loss (now, best so far, at the start)


def round_robin(sizes: Mapping[str, float]) -> dict[str, float]:
    """The same share for every task: p_i = 1 / n. Small tasks repeat most."""
    return temperature(sizes, float("inf"))


def proportional(sizes: Mapping[str, float]) -> dict[str, float]:
    """Shares by size: p_i ∝ N_i. No task repeats before the others; small ones are rarely seen."""
    return temperature(sizes, 1.0)


def sqrt(sizes: Mapping[str, float]) -> dict[str, float]:
    """Shares by the root of the size: p_i ∝ N_i ** 0.5."""
    return temperature(sizes, 2.0)


def temperature(sizes: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Shares by a power of the size: p_i ∝ N_i ** (1 / T); T = 1 is proportional, T → ∞ even.

    Source: Devlin 2018, multilingual BERT; Arivazhagan et al. 2019, arXiv:1907.05019, section 4.
    """
    return _power(sizes, 1.0 / temperature)


def anneal(sizes: Mapping[str, float], progress: float, end: float = 0.2) -> dict[str, float]:
    """Shares at one moment of a run: by size at first, almost even at the end.

    p_i ∝ N_i ** a, with a = 1 − (1 − end) · progress.

    Args:
        sizes: task -> training examples, each above 0.
        progress: share of the run that is done, 0 to 1.
        end: the exponent that the run ends with.

    Raises:
        MixtureError: a task is empty, or progress lies outside 0..1.

    Source: Stickland & Murray 2019, arXiv:1902.02671, section 4; (e − 1) / (E − 1) there is `progress` here.
    """
    return _power(sizes, 1.0 - (1.0 - end) * _checked_progress(progress))


def focus(sizes: Mapping[str, float], progress: float, losses: Losses) -> dict[str, float]:
    """Shares at one moment of a run: even at first, then moving to the tasks that are hardest or smallest.

    p_i ∝ 1 + progress · (left_i + slipped_i + small_i), three terms that each lie in 0..1:

    - left = now / start: how much of the first validation loss is still there;
    - slipped = now / best − 1: how far the task fell back behind its best;
    - small = 1 − N_i / max N.

    So no task is ever drawn more than four times as often as another. A task without a loss counts as one that
    has learned nothing yet; with no losses at all the shares are even.

    Source: our own rule, the reading of annealing that begins even; not from a paper.
    """
    progress = _checked_progress(progress)
    largest = max(_checked_sizes(sizes).values())
    if not losses:
        return round_robin(sizes)
    weights: dict[str, float] = {}
    for name, size in sizes.items():
        now, best, start = losses.get(name, (1.0, 1.0, 1.0))
        left = min(now / start, 1.0) if start > 0.0 else 1.0
        slipped = min(now / best - 1.0, 1.0) if best > 0.0 else 0.0
        weights[name] = 1.0 + progress * (left + slipped + 1.0 - size / largest)
    return _normalised(weights)


def fixed(sizes: Mapping[str, float], shares: Mapping[str, float] | None) -> dict[str, float]:
    """The shares that the run file gives, scaled to one over the tasks at hand.

    Raises:
        MixtureError: a task has no share, or a share is not above 0.
    """
    absent = [name for name in sizes if name not in (shares or {})]
    if shares is None or absent:
        raise MixtureError(
            f"mixture.shares: no share for {', '.join(map(repr, absent))}, which mixture.schedule 'fixed' needs. "
            "Add it, or choose another schedule"
        )
    wrong = [f"{name!r} is {shares[name]}" for name in sizes if not shares[name] > 0.0]
    if wrong:
        raise MixtureError(f"mixture.shares: {', '.join(wrong)}; a share must be above 0. Raise it or drop the task")
    return _normalised({name: shares[name] for name in sizes})


def with_fixed(shares: Mapping[str, float], fixed: Mapping[str, float]) -> dict[str, float]:
    """Join shares of a schedule with members whose share is fixed: those keep it, the others are scaled to the rest.

    Where no other member is left, the fixed ones are scaled to one.

    Raises:
        MixtureError: the fixed shares leave nothing for the others.
    """
    if not shares:
        return _normalised(fixed)
    rest = 1.0 - sum(fixed.values())
    if rest <= 0.0:
        raise MixtureError(f"the fixed shares {dict(fixed)} leave nothing for {', '.join(shares)}. Lower them")
    return {name: share * rest for name, share in _normalised(shares).items()} | dict(fixed)


def capped(shares: Mapping[str, float], room: Mapping[str, float], draws: float) -> dict[str, float]:
    """Shares under which no task is drawn more often than it has room; the freed share goes to the others.

    Water-filling: a task above room / draws is held there and the rest is shared pro rata, until none is above.
    Where all room together is less than `draws`, the shares are proportional to room; without any, unchanged.

    Args:
        shares: task -> share, each above 0.
        room: task -> draws that it may still have, such as max_repeats · size.
        draws: draws of all tasks together that are still to come, above 0.

    Source: Chung et al. 2023, UniMax, arXiv:2304.09151, algorithm 1 (there for even shares).
    """
    limits = {name: max(room[name], 0.0) / draws for name in shares}
    if not any(limits.values()):
        return _normalised(shares)
    if sum(limits.values()) <= 1.0:
        return _normalised(limits)
    final: dict[str, float] = {}
    free = dict(shares)
    while free:
        scale = (1.0 - sum(final.values())) / sum(free.values())
        over = {name: limits[name] for name, share in free.items() if share * scale > limits[name]}
        final |= over or {name: share * scale for name, share in free.items()}
        free = {name: share for name, share in free.items() if name not in final}
    return {name: final[name] for name in shares}


def token_shares_to_example_shares(shares: Mapping[str, float], mean_tokens: Mapping[str, float]) -> dict[str, float]:
    """Shares of the draws under which each task gets its share of the loss tokens: q_i ∝ p_i / mean_tokens_i.

    Args:
        shares: task -> share of the tokens that carry loss.
        mean_tokens: task -> mean loss tokens of one example, each above 0.
    """
    return _normalised({name: share / mean_tokens[name] for name, share in shares.items()})


def _power(sizes: Mapping[str, float], exponent: float) -> dict[str, float]:
    return _normalised({name: size**exponent for name, size in _checked_sizes(sizes).items()})


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _checked_sizes(sizes: Mapping[str, float]) -> Mapping[str, float]:
    if not sizes:
        raise MixtureError("a mixture needs at least one task; this one has none. Name its tasks")
    empty = [name for name, size in sizes.items() if not size > 0.0]
    if empty:
        raise MixtureError(f"no training rows in {', '.join(map(repr, empty))}. Correct the data or drop the task")
    return sizes


def _checked_progress(progress: float) -> float:
    if not 0.0 <= progress <= 1.0:
        raise MixtureError(f"progress is {progress}; it is the share of the run that is done. Give 0 to 1")
    return progress
