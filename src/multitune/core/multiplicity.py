"""Several tests at once: p-values adjusted for their number."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """p-values adjusted for their number, in the given order: each is then held against the level as it stands.

    Sorted from small to large, p_(k) becomes the largest of (m − j) · p_(j) over j ≤ k (from 0), at most 1.

    Source: Holm 1979.
    """
    adjusted: dict[Name, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
