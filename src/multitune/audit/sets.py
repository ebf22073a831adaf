"""The sets of a run as the audit sees them: whole, or a sample of their rows."""

from collections.abc import Sequence

import numpy as np

from multitune.audit.checks import AuditSet
from multitune.core.records import SPLITS, Example, Split
from multitune.core.seeds import generator
from multitune.data.examples import Examples
from multitune.data.run_sets import RunSets


def audit_sets(sets: RunSets) -> list[AuditSet]:
    """All sets, with all of their rows."""
    return [AuditSet(one.task, role, one.examples) for role, members in sets.by_role.items() for one in members]


def sampled(one: AuditSet, most: int, seed: int) -> AuditSet:
    """At most so many rows of a set, each split in proportion to its size; itself where it has no more.

    The rows are a function of seed, set and split, and keep their order.
    """
    sizes = one.sizes()
    total = sum(sizes.values())
    if total <= most:
        return one
    parts = {split: min(size, max(1, size * most // total)) for split, size in sizes.items() if size}
    return AuditSet(one.task, one.role, {split: _some(one, split, parts.get(split, 0), seed) for split in SPLITS})


def _some(one: AuditSet, split: Split, number: int, seed: int) -> Sequence[Example]:
    rows = one.rows(split)
    chosen = np.sort(generator(seed, "audit", one.name, split).permutation(len(rows))[:number])
    return rows.select(chosen) if isinstance(rows, Examples) else [rows[place] for place in chosen.tolist()]
