"""Who helps whom: pairs against single tasks, what a pair's effect adds up to, and what a third task changes."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from multitune.core.results.study import Effect
from multitune.core.seeds import generator
from multitune.study.plan import Combination

Gains = Mapping[Combination, Mapping[str, float]]  # combination -> task in it -> points over the task alone


def helps(tasks: Sequence[str], gains: Gains) -> list[list[float | None]]:
    """Points that each task (row) gains by being trained with one other (column); None where that was not run."""
    return [[None if a == b else _of(gains, tuple(t for t in tasks if t in (a, b)), a) for b in tasks] for a in tasks]


def higher_order(tasks: Sequence[str], gains: Gains) -> list[Effect]:
    """What three tasks do to each beyond the sum of the two pairs: interaction = gain(abc) - gain(ab) - gain(ac)."""
    found: list[Effect] = []
    for triple in combinations(tasks, 3):
        for task in triple:
            pairs = [tuple(t for t in triple if t in (task, other)) for other in triple if other != task]
            parts = [_of(gains, pair, task) for pair in pairs]
            whole = _of(gains, triple, task)
            if whole is not None and None not in parts:
                effect = whole - sum(part for part in parts if part is not None)
                found.append(Effect(tasks=triple, task=task, effect=effect))
    return found


def mean_effects(tasks: Sequence[str], gains: Gains) -> list[Effect]:
    """Mean change of each task when one other joins a combination, over all measured pairs of such combinations."""
    found: list[Effect] = []
    for a, b in ((a, b) for a in tasks for b in tasks if a != b):
        effects: list[float] = []
        for mixture, by_task in gains.items():
            if a in mixture and b not in mixture:
                joined = tuple(t for t in tasks if t in mixture or t == b)
                after = _of(gains, joined, a)
                if after is not None:
                    effects.append(after - by_task[a])
        if effects:
            found.append(Effect(tasks=(a, b), task=a, effect=float(np.mean(effects)), combinations=len(effects)))
    return found


def group_effects(groups: Mapping[str, Combination], gains: Gains, seed: int) -> list[Effect]:
    """What the tasks of a named group gain when others of their group are in the mixture, and when none is.

    `effect` is the difference of the two means in points, with a 95% interval from resampled combinations.
    """
    random = generator(seed, "group effects")
    found: list[Effect] = []
    for name, members in groups.items():
        inside: list[float] = []
        outside: list[float] = []
        for mixture, by_task in gains.items():
            for task in (task for task in members if task in mixture and len(mixture) > 1):
                related = any(other in members for other in mixture if other != task)
                (inside if related else outside).append(by_task[task])
        if not inside or not outside:
            continue
        draws = [
            float(np.mean(random.choice(inside, len(inside))) - np.mean(random.choice(outside, len(outside))))
            for _ in range(1000)
        ]
        low, high = np.percentile(draws, [2.5, 97.5])
        found.append(
            Effect(
                name=name,
                tasks=tuple(members),
                effect=float(np.mean(inside) - np.mean(outside)),
                low=float(low),
                high=float(high),
                combinations=len(inside) + len(outside),
            )
        )
    return found


def _of(gains: Gains, mixture: Combination, task: str) -> float | None:
    return gains.get(mixture, {}).get(task)
