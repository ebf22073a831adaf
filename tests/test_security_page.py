"""Each promise of SECURITY.md names tests, and these are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
PROMISES = re.findall(r"^- (.+)$", PAGE.partition("## What multitune promises")[2].partition("\n## ")[0], re.MULTILINE)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: re.findall(r"\*\*(.+?)\*\*", promise)[0][:40])
def test_a_promise_names_tests_that_are_there(promise: str) -> None:
    tests = re.findall(r'\[test\]\((\S+) "(\w+)"\)', promise)
    assert tests, "a promise without a test"
    for place, name in tests:
        assert f"\ndef {name}(" in (ROOT / place).read_text("utf-8")


def test_there_are_promises() -> None:
    assert len(PROMISES) > 10
