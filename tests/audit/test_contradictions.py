"""contradictions: one text with two labels, in a set or across sets of the same labels."""

from multitune.audit.contradictions import CHECKS
from tests.audit.made import SENTENCES, findings, labelled, made

(CHECK,) = CHECKS
ROWS = labelled(SENTENCES)


def test_copies_with_one_label_are_no_contradiction() -> None:
    assert findings(CHECK, made(train=[*ROWS, *ROWS])) == []


def test_a_text_with_two_labels_is_found_and_shown_with_both() -> None:
    (found,) = findings(CHECK, made(train=ROWS, test=[(SENTENCES[0].upper(), "no")]))
    assert (found.rows, found.of, found.severity) == (2, 25, "high")
    assert [one.text.partition(":")[0] for one in found.examples] == ["yes", "no"]


def test_two_sets_of_the_same_labels_contradict_each_other() -> None:
    one = made("one", instruction="Is it good?\n", train=ROWS[:20])
    other = made("other", instruction="Yes or no: ", train=[(SENTENCES[0], "no"), *ROWS[1:20]])
    (found,) = findings(CHECK, one, other)
    assert (found.sets, found.rows, found.of) == (("one", "other"), 2, 40)


def test_sets_of_other_labels_do_not_contradict_each_other() -> None:
    other = made("other", train=[(text, "long" if answer == "yes" else "short") for text, answer in ROWS])
    assert findings(CHECK, made("one", train=ROWS), other) == []


def test_a_question_may_have_several_texts_as_answers() -> None:
    assert findings(CHECK, made(kind="generate", train=[*ROWS, (SENTENCES[0], "perhaps")])) == []


def test_a_contradiction_within_a_set_is_not_told_again_of_two() -> None:
    one = made("one", train=[*ROWS, (SENTENCES[0], "no")])
    found = findings(CHECK, one, made("other", train=ROWS))
    assert [finding.sets for finding in found] == [("one",)]
