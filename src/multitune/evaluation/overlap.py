"""Which of the rows that a run is scored on stand, in whole or in large parts, in the rows that it trains on."""

import numpy as np

from multitune.audit.checks import AuditSet
from multitune.audit.leaks import overlapping_rows
from multitune.data.run_sets import Role
from multitune.training.prepare import PreparedRun


def overlapping_ids(prepared: PreparedRun) -> dict[str, frozenset[str]]:
    """Of each set, the ids of its rows in the evaluated split that overlap with training rows of any set."""
    split = prepared.config.evaluate.split
    sets: list[AuditSet] = []
    for name, item in prepared.sets.items():
        role: Role = "retention" if name in prepared.retention else "general" if item.general else "task"
        sets.append(AuditSet(item.data.task, role, item.data.examples))
    return {
        one.name: frozenset(one.rows(split)[place].id for place in np.flatnonzero(found).tolist())
        for one, found in zip(sets, overlapping_rows(sets, split), strict=True)
    }
