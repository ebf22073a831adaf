"""leaks.overlap: passages of held-out rows in training rows are found, and shared phrases are not."""

import numpy as np
import pytest

from multitune.audit.leaks import CHECKS, LONG, SHORT, overlapping_rows, runs_of_words
from tests.audit.made import SENTENCES, findings, labelled, made, measures

(CHECK,) = CHECKS
PAGE = " ".join(SENTENCES[:12])  # well above fifty words
OTHERS = labelled(SENTENCES[12:])


@pytest.mark.parametrize(("words", "runs"), [(0, 0), (12, 0), (13, 1), (20, 8)])
def test_a_text_has_a_run_for_each_place_where_one_fits(words: int, runs: int) -> None:
    found, text = runs_of_words(["a b", " ".join(map(str, range(words))), "c d"], SHORT)
    assert (len(found), set(text.tolist())) == (runs, {1} if runs else set())


def test_equal_runs_have_equal_hashes_whatever_case_and_punctuation() -> None:
    one, other = (runs_of_words([text], SHORT)[0] for text in (PAGE, PAGE.upper().replace(".", " —")))
    assert np.array_equal(one, other) and len(set(one.tolist())) == len(one)


def test_the_order_of_words_counts() -> None:
    words = PAGE.split()[:SHORT]
    one, other = (runs_of_words([" ".join(text)], SHORT)[0] for text in (words, words[::-1]))
    assert one[0] != other[0]


def test_a_test_row_inside_a_longer_training_row_is_found() -> None:
    inside = " ".join(SENTENCES[4:6])
    (found,) = findings(CHECK, made(train=[(PAGE, "yes"), *OTHERS[:8]], test=[(inside, "yes"), *OTHERS[8:]]))
    assert (found.subject, found.rows, found.of, found.severity) == ("test of t", 1, 5, "high")
    assert found.examples[0].row == "test0"


def test_fifty_words_in_a_row_suffice_in_a_long_row() -> None:
    long = f"{PAGE} " + " ".join(f"other{n}" for n in range(400))
    words = PAGE.split()
    (found,) = findings(CHECK, made(train=[(" ".join(words[:LONG]), "yes")], test=[(long, "yes")]))
    assert found.rows == 1
    assert findings(CHECK, made(train=[(" ".join(words[: LONG - 1]), "yes")], test=[(long, "yes")])) == []


def test_a_shared_phrase_is_measured_and_is_no_finding() -> None:
    phrase = " ".join(PAGE.split()[:SHORT])
    row = f"{phrase} " + " ".join(f"other{n}" for n in range(100))
    one = made(train=[(phrase, "yes"), *OTHERS], test=[(row, "yes")])
    assert findings(CHECK, one) == []
    assert list(measures(CHECK, one).values()) == [1]


def test_a_shared_instruction_is_no_overlap() -> None:
    one = made(instruction=f"{PAGE}\n\n", train=labelled(SENTENCES[:20]), test=labelled(SENTENCES[20:]))
    assert findings(CHECK, one) == []


def test_a_retention_set_is_compared_with_every_training_set() -> None:
    suite = made("suite", role="retention", test=[(PAGE, "yes")])
    general = made("general", kind="generate", role="general", train=[(PAGE, "a page")])
    found = findings(CHECK, made(train=OTHERS), general, suite)
    assert [(one.sets, one.subject) for one in found] == [(("general", "suite"), "test of suite")]


def test_rows_that_overlap_are_those_that_the_check_counts_and_equal_texts_of_any_length() -> None:
    other = made("o", train=[(PAGE, "yes"), ("Buy now", "no"), *OTHERS[:8]])
    test = [(" ".join(SENTENCES[4:6]), "yes"), ("buy  NOW", "yes"), ("Buy later", "no"), *OTHERS[8:]]
    one = made("t", instruction="What is it?\n\n", train=labelled(SENTENCES[24:]), test=test)
    of_other, of_one = overlapping_rows([other, one], "test")
    assert of_other.tolist() == []
    assert np.flatnonzero(of_one).tolist() == [0, 1]
    assert not overlapping_rows([one], "test")[0].any()
