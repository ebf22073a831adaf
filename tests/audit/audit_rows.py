"""Sets of a few rows for the tests of checks."""

from collections.abc import Mapping, Sequence

from multitune.audit.checks import Audited, AuditSet, Check, Mixture
from multitune.config.schema import TaskConfig
from multitune.core.records import Example, Split
from multitune.core.results.audit import Finding
from multitune.data.run_sets import Role
from multitune.tasks.task import Task

Pairs = Sequence[tuple[str, str]]


def set_of(
    name: str,
    splits: Mapping[Split, Pairs],
    *,
    kind: str = "classify",
    prompt: str = "{{ text }}",
    role: Role = "task",
) -> AuditSet:
    """A set whose rows are (text, answer), rendered by its template; ids are r0, r1, … in each split."""
    fields = {"name": name, "kind": kind, "prompt": prompt, "answer": "{{ answer }}", "data": {"train": "rows"}}
    task = Task(TaskConfig.model_validate({**fields, "id": "id"}))
    rows: dict[Split, list[Example]] = {}
    for split, pairs in splits.items():
        given = [{"id": f"r{at}", "text": text, "answer": answer} for at, (text, answer) in enumerate(pairs)]
        rows[split] = task.examples(given)
    task.fit_labels(row.answer for part in rows.values() for row in part)
    return AuditSet(task, role, rows)


def audited(check: Check, *sets: AuditSet, **thresholds: float) -> Audited:
    """What a check sees, with its own thresholds unless others are given."""
    values = {name: one.value for name, one in check.thresholds.items()}
    return Audited(sets, Mixture([{one.name: 1 / len(sets) for one in sets}]), 17, {**values, **thresholds})


def findings(check: Check, *sets: AuditSet, **thresholds: float) -> dict[str, Finding]:
    """What a check finds, by key."""
    found = [one for one in check.find(audited(check, *sets, **thresholds)) if isinstance(one, Finding)]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}
