"""The audit on the page of a run: findings by severity, example rows that do nothing, and a damaged file named."""

from pathlib import Path

import pytest

from multitune.core.results.audit import Audit
from multitune.core.run_folder import RunFolder
from multitune.reporting.facts import read_run
from multitune.reporting.page import write_report
from multitune.reporting.tables.audit import audit_lines, audit_sentence, example_lines
from tests.reporting.conftest import Page

ATTACK = "<script>alert(1)</script>\x1b[31m"


def audit() -> Audit:
    def finding(severity: str, check: str, accepted: str | None = None) -> dict[str, object]:
        row = {"set": "copy", "split": "test", "row": "r1", "text": f"{check} {ATTACK}\n{'long ' * 100}"}
        about = {"check": check, "severity": severity, "sets": ("copy",), "message": f"{check} {ATTACK}"}
        return {**about, "remedy": "Take it out.", "rows": 3, "of": 40, "examples": [row], "accepted": accepted}

    measure = {"check": "test.rate", "set": "mixture", "name": ATTACK, "value": 0.25, "interval": (0.2, 0.3)}
    return Audit.model_validate(
        {
            "name": "tiny",
            "sets": [{"name": "copy", "role": "task", "rows": {"train": 1200, "test": 40}}],
            "sampled": True,
            "findings": [
                finding("high", "leaks.exact"),
                finding("high", "quality.empty", "on purpose"),
                finding("low", "quality.length"),
            ],
            "measures": [{**measure, "unit": "per 1,000 words"}],
            "skipped": [{"check": "test.skipped", "reason": "needs X. Run: pip install X"}],
            "seconds": 2.0,
        }
    )


@pytest.fixture
def shown(run: RunFolder, tmp_path: Path) -> Page:
    audit().write(run.audit)
    return Page(write_report([run.path], tmp_path / "page.html"))


def test_the_page_shows_findings_the_worst_first_with_what_to_do(shown: Page) -> None:
    rows = shown.table("What the audit found")
    assert [(row["severity"], row["check"], row["accepted"]) for row in rows] == [
        ("high", "leaks.exact", ""),
        ("high", "quality.empty", "on purpose"),
        ("low", "quality.length", ""),
    ]
    assert {row["what to do"] for row in rows} == {"Take it out."}


def test_the_page_shows_examples_measures_and_what_was_not_made(shown: Page) -> None:
    assert "copy, test row r1: leaks.exact" in shown.text and "test.skipped: needs X." in shown.text
    (measure,) = shown.table("What the audit measured")
    assert (measure["value"], measure["95%"], measure["unit"]) == ("0.250", "0.200 to 0.300", "per 1,000 words")


def test_no_text_of_a_row_acts_on_the_page(shown: Page) -> None:
    assert "<script>alert" not in shown.source and "\x1b" not in shown.source and "<script>alert(1)" in shown.text


def test_a_run_without_an_audit_has_no_such_part(run: RunFolder, page: Page) -> None:
    assert not run.audit.exists() and "Audit of the data" not in page.text
    assert not [line for line in read_run(run.path).missing if "audit" in line]


def test_a_damaged_audit_is_named_and_not_fatal(run: RunFolder) -> None:
    run.audit.write_text("{", "utf-8")
    facts = read_run(run.path)
    assert facts.audit is None and any(line.startswith("audit.json is damaged") for line in facts.missing)


def test_the_sentence_counts_what_is_open() -> None:
    assert audit_sentence(audit()) == (
        "audited a sample of 1,240 rows of 1 set in 2 s: 1 finding of severity high and 1 finding of severity low "
        "open, 1 accepted"
    )
    assert audit_lines(audit())[-1] == "not made: test.skipped: needs X. Run: pip install X"


def test_an_example_is_one_short_line_without_control_characters() -> None:
    (line,) = example_lines(audit().findings[0])
    assert line.startswith("copy, test row r1: leaks.exact <script>") and len(line) < 280 and line.isprintable()
