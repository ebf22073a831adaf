"""Reading: what an output is taken to say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.tasks.output_parsing import (
    free_text,
    has_decimal_comma,
    holds_one_number,
    read_label,
    read_number,
    read_spans,
)


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
        ("1.234,5", 1234.5),
        ("0,5", 0.5),
        ("12,75 €", 12.75),
        ("1/2", 0.5),
        ("3 1/2", 3.5),
        ("on 1/2/2020", 2020),
        ("1 234", 1234),
        ("€ 1 234,50", 1234.5),
        ("1\u202f234,5", 1234.5),
        ("1’234.5", 1234.5),
        ("1.234.567", 1234567),
        ("1.234.567,89", 1234567.89),
        ("1,20,456", 120456),
        ("₹ 10,00,000.50", 1000000.5),
        ("1,234", 1234),
        ("0,123", 0.123),
        ("1.234", 1.234),
        ("١٢٫٥", 12.5),
        ("१२३", 123),
        ("１，２３４", 1234),
        ("1,2,3", 3),
        ("2020.01.05", 5),
        ("1 2 100", 100),
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


@pytest.mark.parametrize("text", ["1/0", "#### 1/0"])
def test_a_fraction_over_nothing_is_no_number(text: str) -> None:
    assert read_number(text) is None


def test_gold_and_output_are_read_by_the_same_rule() -> None:
    assert read_number("0,5") != read_number("3,5")
    assert read_number("The answer is 1.234.567.") == read_number("1,234,567")


@pytest.mark.parametrize(
    ("text", "single"), [("0,5", True), ("1,2,3", False), ("3 and 4", False), ("3+4=7 #### 7", True)]
)
def test_a_text_of_several_numbers_is_told(text: str, single: bool) -> None:
    assert holds_one_number(text) is single


@pytest.mark.parametrize(("text", "decimal"), [("0,5", True), ("1,234", False), ("1.5", None), ("none", None)])
def test_a_comma_is_told_from_a_comma(text: str, decimal: bool | None) -> None:
    assert has_decimal_comma(text) is decimal


def test_a_label_is_read_in_any_spelling_of_its_characters() -> None:
    assert read_label("cafe\u0301", ["caf\u00e9", "bar"]) == "caf\u00e9"


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


def test_free_text_keeps_the_indentation_of_its_first_line() -> None:
    assert free_text("\n  \n    return x\n      + 1\n\n") == "    return x\n      + 1"
