"""Reading: what an output is taken to say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.tasks.output_parsing import read_label, read_number, read_spans


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("$1,234.5 million", 1234.5e6),
        ("-$3.5bn", -3.5e9),
        ("US$-3", -3),
        ("12.5%", 0.125),
        ("50 percent", 0.5),
        ("(3.2)", -3.2),
        ("($ 3.2 million )", -3.2e6),
        ("−4", -4),
        ("1.234,5", 1.2345),
        ("1,234,567", 1234567),
        ("1.5,2.5", 2.5),
        (".5", 0.5),
        ("1e-05", 1e-5),
        ("The answer is 42.", 42),
        ("first 3, then 5", 5),
        ("48/2 = 24\nSo 48 + 24 = 72\n#### 72", 72),
        ("#### 18\nAnother 5", 18),
        ("16-3", 3),
        ("- 5 apples", 5),
        ("in 2019-2020", 2020),
        ("forty-two (42)", 42),
        ("3.5 kg", 3.5),
    ],
)
def test_a_number_is_read_as_it_is_meant(text: str, number: float) -> None:
    assert read_number(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "no idea", "#### none", "nan", "inf", "9" * 400])
def test_a_text_without_a_finite_number_is_unreadable(text: str) -> None:
    assert read_number(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_float_reads_back_exactly(number: float) -> None:
    assert read_number(str(number)) == number


@given(st.integers())
def test_an_integer_reads_back_with_or_without_thousands(number: int) -> None:
    assert read_number(f"{number:,}") == read_number(str(number)) == pytest.approx(number)


@given(st.text())
def test_any_text_can_be_read_without_failing(text: str) -> None:
    assert read_label(text, ["a", "b"]) in ("a", "b", None)
    assert isinstance(read_number(text), float | None)
    assert isinstance(read_spans(text), tuple | None)


def test_spans_are_read_line_by_line() -> None:
    assert read_spans("Acme  Corp, ORG\n\n John Smith , per ") == (("Acme Corp", "ORG"), ("John Smith", "PER"))


def test_a_span_may_hold_a_comma() -> None:
    assert read_spans("Evergreen Solar, Inc., ORG") == (("Evergreen Solar, Inc.", "ORG"),)


def test_a_line_of_another_form_is_passed_over() -> None:
    assert read_spans("Here they are:\nJohn, PER") == (("John", "PER"),)


@pytest.mark.parametrize("text", ["none", "None.", " none\n"])
def test_none_means_no_entities(text: str) -> None:
    assert read_spans(text) == ()


@pytest.mark.parametrize("text", ["", "no idea", "John, the boss of it all"])
def test_a_text_without_any_span_is_unreadable(text: str) -> None:
    assert read_spans(text) is None


@pytest.mark.parametrize(
    "text", ["card arrival", " Card Arrival ", "card_arrival", "'Card arrival.'", "card arrival\nbecause it is late"]
)
def test_a_label_is_found_whatever_its_case_and_punctuation(text: str) -> None:
    assert read_label(text, ["card arrival", "card lost"]) == "card arrival"


@pytest.mark.parametrize("text", ["", "card", "card arrival or card lost", "?"])
def test_a_text_that_names_no_one_label_is_unreadable(text: str) -> None:
    assert read_label(text, ["card arrival", "card lost"]) is None


def test_an_exact_label_wins_over_its_likeness() -> None:
    assert [read_label(text, ["C", "c", "C++"]) for text in ("C", "c", "C++", "c++")] == ["C", "c", "C++", "C++"]
