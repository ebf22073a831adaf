"""All checks over some sets: order, thresholds, what is skipped, samples, and progress."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multitune.audit.checks import Audited, AuditSet, Check, Found, Mixture, Threshold
from multitune.audit.registry import OWN
from multitune.audit.run import AuditInput, run_checks
from multitune.audit.sets import sampled
from multitune.config.audit import AuditConfig
from multitune.config.schema import TaskConfig
from multitune.core.errors import ConfigError, MissingExtraError
from multitune.core.records import SPLITS, Example
from multitune.core.results.audit import SEVERITIES, Finding, Measure, SkippedCheck
from multitune.tasks.task import Task

FIELDS = {"data": {"train": "rows"}, "kind": "generate", "prompt": "{{ a }}", "answer": "{{ b }}"}


def rows_of(name: str, train: int, test: int) -> AuditSet:
    task = Task(TaskConfig.model_validate({**FIELDS, "name": name}))
    rows = [Example(name, f"r{place}", f"question {place}", "answer", "answer") for place in range(train + test)]
    return AuditSet(task, "task", {"train": rows[:train], "test": rows[train:]})


def long_rows(audited: Audited) -> Iterator[Found]:
    """As many findings as sets, each worse than the one before, with the threshold that was given."""
    for one, severity in zip(audited.sets, reversed(SEVERITIES), strict=False):
        rows = len(one.rows("train"))
        audited.advance(rows)
        yield Measure(check="test.long", set=one.name, name="rows", value=rows)
        yield Finding(
            check="test.long",
            severity=severity,
            sets=(one.name,),
            message="m",
            remedy="r",
            rows=rows,
            of=rows,
            threshold=audited.thresholds["share"],
        )


LONG = Check("test.long", "long rows", long_rows, {"share": Threshold(0.5, "half")})


def audited(*checks: Check, sets: int = 3, **fields: Any) -> AuditInput:
    named = [rows_of(name, 80, 20) for name in "abc"[:sets]]
    return AuditInput("run", named, Mixture([{"a": 1.0}]), 17, AuditConfig(**fields), checks or (LONG,))


def test_the_worst_finding_comes_first() -> None:
    found = run_checks(audited())
    assert [one.severity for one in found.findings] == list(SEVERITIES)
    assert [one.sets for one in found.blocking] == [("c",)]
    assert [one.name for one in found.measures] == ["rows"] * 3


def test_a_threshold_of_the_run_file_takes_the_place_of_the_default() -> None:
    assert {one.threshold for one in run_checks(audited()).findings} == {0.5}
    assert {one.threshold for one in run_checks(audited(thresholds={"test.long.share": 0.2})).findings} == {0.2}


def test_a_check_that_is_skipped_is_not_made_and_named() -> None:
    found = run_checks(audited(skip=("test.long",)))
    assert found.findings == () and [one.check for one in found.skipped] == ["test.long"]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"skip": ("test.lang",)}, r"audit\.skip: 'test\.lang' is not a check\. Did you mean 'test\.long'\?"),
        (
            {"thresholds": {"test.long": 1.0}},
            r"'test\.long' is not a threshold of a check\. Did you mean .*\.share'\?",
        ),
        ({"thresholds": {"test.lang.share": 1.0}}, r"audit\.thresholds: .*Did you mean 'test\.long\.share'\?"),
    ],
)
def test_an_unknown_name_is_met_with_the_nearest_one(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        audited(**fields)


def test_a_missing_extra_is_a_skipped_check_and_what_it_found_before_stays() -> None:
    def find(seen: Audited) -> Iterator[Found]:
        yield next(iter(long_rows(seen)))
        raise MissingExtraError("needs X. Run: pip install X")

    found = run_checks(audited(Check("test.long", "long rows", find, LONG.thresholds)))
    assert found.skipped == (SkippedCheck(check="test.long", reason="needs X. Run: pip install X"),)
    assert len(found.measures) == 1


def test_any_other_error_of_a_check_is_an_error() -> None:
    def find(seen: Audited) -> Iterator[Found]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        run_checks(audited(Check("test.long", "long rows", find)))


def test_progress_begins_at_none_ends_at_all_rows_and_never_falls() -> None:
    told: list[tuple[str, int, int]] = []
    run_checks(audited(), lambda *progress: told.append(progress))
    done = [rows for _, rows, _ in told]
    assert {(title, of) for title, _, of in told} == {("long rows", 300)}
    assert done[0] == 0 and done[-1] == 300 and done == sorted(done)


def test_a_sample_has_at_most_so_many_rows_of_every_split_and_always_the_same() -> None:
    one = rows_of("a", 900, 100)
    few, again = sampled(one, 50, seed=17), sampled(one, 50, seed=17)
    assert few.sizes() == {"train": 45, "validation": 0, "test": 5}
    rows = {split: [row.id for row in few.rows(split)] for split in SPLITS}
    assert rows == {split: [row.id for row in again.rows(split)] for split in SPLITS}
    assert rows["train"] != [row.id for row in sampled(one, 50, seed=18).rows("train")]
    assert rows["train"] == sorted(rows["train"], key=lambda name: int(name[1:]))


def test_a_set_with_no_more_rows_than_asked_for_is_looked_at_whole() -> None:
    one = rows_of("a", 40, 10)
    assert sampled(one, 50, seed=17) is one


def test_an_audit_of_a_sample_says_so_and_calls_nothing_stale(tmp_path: Path) -> None:
    accepted = tmp_path / "audit-accepted.yaml"
    accepted.write_text("- {finding: 'test.long:gone', reason: seen}\n- {finding: 'test.long:c', reason: fine}\n")
    whole, part = (run_checks(audited(accept=str(accepted)), rows=rows) for rows in (None, 10))
    assert (whole.sampled, whole.stale) == (False, ("test.long:gone",))
    assert (part.sampled, part.stale) == (True, ())
    assert [one.accepted for one in whole.findings] == ["fine", None, None] and not whole.blocking
    assert [one.rows for one in part.sets] == [{"train": 8, "validation": 0, "test": 2}] * 3


def test_checks_have_names_of_their_own_and_say_why_each_threshold_is_what_it_is() -> None:
    assert len({check.name for check in OWN}) == len(OWN) > 0
    assert all(one.reason for check in OWN for one in check.thresholds.values())
    assert all(check.title for check in OWN)
