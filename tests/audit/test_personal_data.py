"""Personal data in sets: what is counted, how grave it is, that no output shows it, and that copies replace it."""

import pytest

from multitune.audit.personal_data import CHECKS, masked, redactor
from tests.audit.audited_sets import audit_set, audited, example_rows, findings

(CHECK,) = CHECKS
CARD, KEY, MAIL = "4539148803436467", "AKIAQ3EGRZZ7T5KBNM2P", "jane@mail.com"


def rows(*texts: str, answer: str = "yes") -> list[dict[str, str]]:
    return [{"text": text, "answer": answer} for text in texts]


def test_kinds_are_counted_by_set_with_the_rows_and_the_different_values() -> None:
    one = audit_set("shop", rows(f"from {MAIL}", f"to {MAIL} and {CARD}", "nothing here"))
    found = {finding.subject: finding for finding in findings(CHECK, one)}
    assert {kind: (finding.rows, finding.of) for kind, finding in found.items()} == {"email": (2, 3), "card": (1, 3)}
    assert "2 train; 1 different, one in 2 rows" in found["email"].message


@pytest.mark.parametrize(
    ("text", "answer", "split", "severity"),
    [
        (f"pay with {CARD}", "yes", "train", "high"),
        (f"pay with {CARD}", "yes", "test", "medium"),  # no model learns it
        (f"the key {KEY}", "yes", "train", "high"),
        (f"write to {MAIL}", "yes", "train", "low"),  # read, and never written by the model
        ("whom?", f"write to {MAIL}", "train", "medium"),
    ],
)
def test_severity_follows_from_the_kind_and_from_what_the_model_learns(text, answer, split, severity) -> None:
    one = audit_set("shop", {split: [{"text": text, "answer": answer}]}, kind="generate")
    assert [finding.severity for finding in findings(CHECK, one)] == [severity]


def test_rows_that_are_only_scored_are_never_high() -> None:
    one = audit_set("suite", rows(f"the key {KEY}"), role="retention")
    assert [finding.severity for finding in findings(CHECK, one)] == ["medium"]


def test_no_finding_shows_what_was_found() -> None:
    text = f"{'long ' * 9}{MAIL} paid with {CARD}, key {KEY}, then called +44 20 7946 0018 from 86.121.97.248"
    dumped = "".join(finding.model_dump_json() for finding in findings(CHECK, audit_set("shop", rows(text))))
    assert [secret for secret in (MAIL, CARD, KEY, "7946", "86.121", "jane", "0343") if secret in dumped] == []
    assert "<EMAIL>" in dumped and "<CARD>" in dumped


def test_an_excerpt_cuts_no_value_in_two() -> None:
    # The card stands across the end of what is shown of the address.
    text = f"{MAIL} {'x' * 51} {CARD} and more"
    dumped = "".join(finding.model_dump_json() for finding in findings(CHECK, audit_set("shop", rows(text))))
    assert CARD[:4] not in dumped


def test_what_the_template_says_in_every_row_is_no_finding() -> None:
    one = audit_set("shop", rows("hello", "bye"), prompt="Answer for help@shop.com: {{ text }}")
    assert findings(CHECK, one) == []


def test_a_copy_has_one_placeholder_for_one_person_over_all_sets_and_spellings() -> None:
    first = audit_set("a", rows(f"{MAIL} and bob@mail.com", "tel. 467 3395"))
    second = audit_set("b", rows("to JANE@mail.com"))
    redact = redactor(audited(CHECK, first, second))
    assert redact("Bob@mail.com wrote to JANE@mail.com") == "<EMAIL_2> wrote to <EMAIL_1>"
    assert redact("467-3395 is hers") == "<PHONE_1> is hers"  # known from a row that says what it is
    assert redact("eve@mail.com, then eve@mail.com") == "<EMAIL_3>, then <EMAIL_3>"
    assert redact("nothing here") == "nothing here"


def test_a_copy_is_the_same_each_time_and_holds_nothing_to_find() -> None:
    one = audit_set("a", rows(f"{MAIL}, {CARD} and {KEY}", "IBAN DE89370400440532013000"))
    texts = list(one.texts("train", "prompt"))
    copies = [[redact(text) for text in texts] for redact in (redactor(audited(CHECK, one)) for _ in range(2))]
    assert copies[0] == copies[1]
    assert [masked(copy) for copy in copies[0]] == copies[0]


def test_every_planted_value_is_found_among_real_rows_and_nothing_else() -> None:
    real = example_rows("team/data/cards/train.jsonl", text="text", answer="intent")
    planted = [{"text": f"My card {CARD} was refused", "answer": real[0]["answer"]}] * 3
    assert findings(CHECK, audit_set("cards", real)) == []
    (finding,) = findings(CHECK, audit_set("cards", [*real, *planted]))
    assert (finding.subject, finding.rows, finding.severity) == ("card", 3, "high")
