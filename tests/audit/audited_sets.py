"""Sets to audit, made of a few rows or of the files of the examples."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multitune.audit.checks import Audited, AuditSet, Check, Mixture, Role
from multitune.config.schema import TaskConfig
from multitune.core.records import Split
from multitune.core.results.audit import Finding, Measure
from multitune.tasks.task import Task

EXAMPLES = Path(__file__).parents[2] / "examples"
Rows = Sequence[Mapping[str, Any]]


def audit_set(name: str, rows: Rows | Mapping[Split, Rows], *, role: Role = "task", **fields: Any) -> AuditSet:
    """A set of rows with a text and an answer; a list of rows is training data."""
    asked = {"prompt": "{{ text }}", "answer": "{{ answer }}", "kind": "classify", "data": {"train": "x"}}
    task = Task(TaskConfig.model_validate(asked | {"name": name} | fields))
    splits = rows if isinstance(rows, Mapping) else {"train": rows}
    return AuditSet(task, role, {split: task.examples(given) for split, given in splits.items()})


def example_rows(path: str, **columns: str) -> list[dict[str, Any]]:
    """Rows of a file of the examples, with columns under the names that `audit_set` reads."""
    lines = (EXAMPLES / path).read_text("utf-8").splitlines()
    return [{new: row[old] for new, old in columns.items()} for row in map(json.loads, lines)]


def audited(check: Check, *sets: AuditSet, shares: Sequence[Mapping[str, float]] = (), **limits: float) -> Audited:
    """What a check sees, with its own thresholds unless others are given."""
    even = {one.name: 1 / len(sets) for one in sets}
    own = {name: one.value for name, one in check.thresholds.items()}
    return Audited(sets, Mixture(shares or [even] * 3), 17, own | limits)


def findings(check: Check, *sets: AuditSet, **limits: float) -> list[Finding]:
    """The findings of one check."""
    return [found for found in check.find(audited(check, *sets, **limits)) if isinstance(found, Finding)]


def measures(found: Iterable[object]) -> dict[tuple[str, str], Measure]:
    """Measures by set and name."""
    return {(one.set, one.name): one for one in found if isinstance(one, Measure)}
