"""duplicates.exact and duplicates.near: copies in a split, across splits and across sets, each counted once."""

from multitune.audit.duplicates import CHECKS
from tests.audit.made import SENTENCES, dropped, findings, labelled, made

EXACT_CHECK, NEAR_CHECK = CHECKS
ROWS = labelled(SENTENCES)


def edited(text: str) -> str:
    return text[:30] + "q" + text[31:]


def test_rows_that_all_differ_are_no_finding() -> None:
    one = made(train=ROWS[:16], validation=ROWS[16:20], test=ROWS[20:])
    assert [findings(check, one) for check in CHECKS] == [[], []]


def test_three_copies_of_a_row_count_as_two_repeats() -> None:
    (found,) = findings(EXACT_CHECK, made(train=[*ROWS, ROWS[0], ROWS[0]]))
    assert (found.subject, found.rows, found.of) == ("train", 2, 26)


def test_copies_with_different_answers_are_left_to_contradictions() -> None:
    one = made(train=[*ROWS, (SENTENCES[0], "no")])
    assert findings(EXACT_CHECK, one) == []
    assert dropped(EXACT_CHECK, one) == []


def test_a_held_out_row_in_train_is_found_and_named_with_its_copy() -> None:
    (found,) = findings(EXACT_CHECK, made(train=ROWS[:20], test=[*ROWS[20:], ROWS[3]]))
    assert (found.subject, found.severity, found.rows, found.of) == ("test of t", "high", 1, 5)
    assert [(one.split, one.row) for one in found.examples] == [("test", "test4"), ("train", "train3")]


def test_a_test_row_in_validation_is_found() -> None:
    (found,) = findings(EXACT_CHECK, made(train=ROWS[:16], validation=ROWS[16:20], test=ROWS[19:]))
    assert (found.subject, found.rows, found.of) == ("test and validation", 1, 5)


def test_a_row_that_another_set_trains_on_is_found_under_another_instruction() -> None:
    one = made("one", instruction="What is the mood?\n\n", train=ROWS[:12], test=ROWS[20:])
    other = made("other", instruction="Up or down: ", train=[*ROWS[12:20], ROWS[21]])
    (found,) = findings(EXACT_CHECK, one, other)
    assert (found.sets, found.subject, found.rows, found.of) == (("one", "other"), "test of one", 1, 4)


def test_a_retention_set_in_train_is_found() -> None:
    suite = made("suite", role="retention", test=ROWS[:6])
    (found,) = findings(EXACT_CHECK, made(train=ROWS), suite)
    assert (found.subject, found.rows, found.of) == ("test of suite", 6, 6)


def test_a_long_instruction_does_not_make_its_rows_alike() -> None:
    one = made(instruction="Read the sentence below with care and say yes or no. " * 5 + "\n\n", train=ROWS)
    assert findings(NEAR_CHECK, one) == []


def test_a_near_copy_of_a_held_out_row_is_found_by_the_near_check_alone() -> None:
    one = made(train=[*ROWS[:20], (edited(SENTENCES[20]), "yes")], test=ROWS[20:])
    assert findings(EXACT_CHECK, one) == []
    (found,) = findings(NEAR_CHECK, one)
    assert (found.subject, found.rows, found.of) == ("test of t", 1, 4)


def test_exact_copies_are_not_named_again_as_near() -> None:
    assert findings(NEAR_CHECK, made(train=[*ROWS, ROWS[0]], test=ROWS[:2])) == []


def test_the_threshold_decides_how_near_is_near() -> None:
    one = made(train=[*ROWS, (edited(SENTENCES[0]), "yes")])
    assert len(findings(NEAR_CHECK, one)) == 1
    assert findings(NEAR_CHECK, one, jaccard=0.99) == []


def test_a_cleaned_copy_keeps_what_is_held_out_and_one_of_each_cluster() -> None:
    one = made(train=[*ROWS[:10], ROWS[2], ROWS[2], ROWS[15], (edited(SENTENCES[16]), "yes")], test=ROWS[15:])
    assert dropped(EXACT_CHECK, one) == [("t", "train10"), ("t", "train11"), ("t", "train12")]
    assert dropped(NEAR_CHECK, one) == [("t", "train13")]
