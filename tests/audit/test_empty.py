"""quality.empty: what shows nothing is found and named, and what shows anything is left in peace."""

import pytest

from multitune.audit.checks import Audited, AuditSet, Mixture
from multitune.audit.empty import CHECKS, shows_nothing
from multitune.config.schema import TaskConfig
from multitune.core.records import Example
from multitune.core.results.audit import Finding
from multitune.tasks.task import Task

(CHECK,) = CHECKS
FIELDS = {"name": "t", "data": {"train": "rows"}, "kind": "generate", "prompt": "{{ a }}", "answer": "{{ b }}"}


def given(*pairs: tuple[str, str], share: float = 0.0) -> Audited:
    rows = [Example("t", f"r{place}", prompt, answer, answer) for place, (prompt, answer) in enumerate(pairs)]
    one = AuditSet(Task(TaskConfig.model_validate(FIELDS)), "task", {"train": rows[:-1], "test": rows[-1:]})
    return Audited([one], Mixture([{"t": 1.0}]), 17, {"share": share})


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b", "\u00a0\u2060", "\ufeff", "\u3164\u2800", "\x1b\x07"])
def test_white_space_and_invisible_characters_show_nothing(text: str) -> None:
    assert shows_nothing(text)


@pytest.mark.parametrize("text", ["a", ".", "\u200bа", "東", "🙂", "\u0301", "0", "  -  "])
def test_any_visible_character_shows_something(text: str) -> None:
    assert not shows_nothing(text)


def test_rows_that_show_nothing_are_one_finding_of_their_set() -> None:
    (found,) = CHECK.find(given(("q", "a"), ("\u200b", "a"), ("\u200b", "\u200b"), ("q", "\u2060")))
    assert isinstance(found, Finding)
    assert (found.severity, found.key, found.rows, found.of, found.value) == ("high", "quality.empty:t", 3, 4, 0.75)
    assert [(one.split, one.row, one.text) for one in found.examples] == [
        ("train", "r1", "empty prompt"),
        ("train", "r2", "empty prompt and answer"),
        ("test", "r3", "empty answer"),
    ]


def test_rows_that_show_something_are_no_finding() -> None:
    assert list(CHECK.find(given(("q", "a"), ("q", "no")))) == []


@pytest.mark.parametrize(("share", "findings"), [(0.25, 1), (0.26, 0)])
def test_a_share_below_the_threshold_is_no_finding(share: float, findings: int) -> None:
    assert len(list(CHECK.find(given(("q", "\u200b"), *[("q", "a")] * 3, share=share)))) == findings


def test_a_cleaned_copy_goes_without_exactly_these_rows() -> None:
    assert CHECK.drops is not None
    dropped = CHECK.drops(given(("q", "a"), ("\u200b", "a"), ("q", "\u200b")))
    assert [(one.split, one.row, one.reason) for one in dropped] == [
        ("train", "r1", "its prompt shows nothing"),
        ("test", "r2", "its answer shows nothing"),
    ]
