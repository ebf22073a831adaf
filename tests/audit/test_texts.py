"""quality.truncated, quality.mojibake and quality.length: damaged texts are found, and whole ones left in peace."""

import pytest

from multitune.audit.texts import CHECKS, is_mojibake, is_open
from tests.audit.made import SENTENCES, findings, labelled, made

TRUNCATED_CHECK, MOJIBAKE_CHECK, LENGTH_CHECK = CHECKS
LONG = [f"{SENTENCES[place - 1]} {text}" for place, text in enumerate(SENTENCES)]  # above 80 characters


def test_whole_texts_are_no_finding() -> None:
    one = made(train=labelled(LONG))
    assert [findings(check, one) for check in CHECKS] == [[], [], []]


@pytest.mark.parametrize(
    ("text", "expected"), [("and then the ", True), ("one,", True), ("Done.", False), ("(a)", False)]
)
def test_a_text_is_open_where_its_last_sentence_does_not_end(text: str, expected: bool) -> None:
    assert is_open(text) is expected


def test_a_text_that_stops_where_the_others_end_is_found() -> None:
    (found,) = findings(TRUNCATED_CHECK, made(train=[*labelled(LONG), (LONG[0][:-9], "yes")]))
    assert (found.subject, found.rows, found.of) == ("prompt", 1, 25)
    assert found.examples[0].row == "train24"


def test_many_texts_of_one_greatest_length_are_found() -> None:
    (found,) = findings(TRUNCATED_CHECK, made(train=labelled(text[:130] for text in LONG)))
    assert found.rows == sum(len(text) >= 130 for text in LONG) and "130 characters" in found.message


def test_sets_whose_texts_end_without_a_stop_say_nothing() -> None:
    assert findings(TRUNCATED_CHECK, made(train=labelled(text.rstrip(".") for text in LONG))) == []


def test_answers_are_looked_at_where_they_are_free_text() -> None:
    rows = [("Tell me.", text) for text in LONG]
    (found,) = findings(TRUNCATED_CHECK, made(kind="generate", train=[*rows, ("Tell me.", LONG[3][:-9])]))
    assert (found.subject, found.rows) == ("answer", 1)


@pytest.mark.parametrize("text", ["It’s naïve", "Größe über 5 €", "日本語の文", "Ελλάδα", "🙂 fine", "Île-de-France"])
def test_text_of_any_script_is_no_mojibake(text: str) -> None:
    assert not is_mojibake(text)


@pytest.mark.parametrize("text", ["It’s naïve", "Größe über 5 €", "“quoted” — so"])
def test_utf_8_that_was_read_as_latin_is_mojibake(text: str) -> None:
    assert is_mojibake(text.encode().decode("cp1252", "replace"))


def test_wrongly_decoded_rows_are_one_finding_of_their_set() -> None:
    wrong = "It’s the bank’s fault".encode().decode("cp1252")
    (found,) = findings(MOJIBAKE_CHECK, made(train=labelled(SENTENCES), test=[(wrong, "yes")]))
    assert (found.rows, found.of, found.examples[0].row) == (1, 25, "test0")


def test_a_page_among_sentences_is_far_too_long() -> None:
    (found,) = findings(LENGTH_CHECK, made(train=[*labelled(SENTENCES), (" ".join(SENTENCES), "yes")]))
    assert (found.rows, found.examples[0].row) == (1, "train24")


def test_texts_of_all_lengths_are_no_outliers() -> None:
    assert findings(LENGTH_CHECK, made(train=labelled("w " * 2**at for at in range(10) for _ in range(3)))) == []
