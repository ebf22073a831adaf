"""quality.labels: one answer for nearly all rows, labels out of balance, and labels with few rows."""

from multitune.audit.labels import CHECKS
from tests.audit.made import Pairs, findings, made, measures

(CHECK,) = CHECKS


def rows(**counts: int) -> Pairs:
    return [(f"text {label} {n}", label) for label, count in counts.items() for n in range(count)]


def test_balanced_labels_are_no_finding() -> None:
    assert findings(CHECK, made(train=rows(a=30, b=40, c=20))) == []


def test_one_answer_for_nearly_all_rows_is_found_and_its_share_measured() -> None:
    one = made(train=rows(a=95, b=5))
    found = {finding.subject: finding for finding in findings(CHECK, one)}
    assert (found["single answer"].severity, found["single answer"].value) == ("high", 0.95)
    assert measures(CHECK, one) == {"share of the commonest label": 0.95}


def test_rare_labels_are_named_with_their_rows() -> None:
    (found,) = findings(CHECK, made(train=rows(a=40, b=40, c=9, d=2)))
    assert (found.subject, found.rows) == ("rare", 11)
    assert "'d' (2), 'c' (9)" in found.message


def test_labels_out_of_balance_are_found() -> None:
    (found,) = findings(CHECK, made(train=rows(a=150, b=12, c=60)))
    assert (found.subject, found.severity, found.value) == ("imbalance", "low", 12.5)


def test_a_generated_answer_may_be_rare_but_not_nearly_all() -> None:
    assert findings(CHECK, made(kind="generate", train=rows(a=3, b=3, c=14))) == []
    (found,) = findings(CHECK, made(kind="generate", train=rows(a=1, b=19)))
    assert found.subject == "single answer"


def test_few_rows_say_nothing() -> None:
    assert findings(CHECK, made(train=rows(a=19))) == []
