"""Terms of two groups change places in a text, and all else of it stays."""

import pytest

from multitune.audit.swaps import PAIRS, WOMEN_MEN, swap


@pytest.mark.parametrize(
    ("pair", "text", "swapped"),
    [
        (WOMEN_MEN, "She gave her book to him.", "He gave his book to her."),
        (WOMEN_MEN, "He thanked her, and the choice is his.", "She thanked him, and the choice is hers."),
        (WOMEN_MEN, "MY MOTHER said: Mr Smith is a waiter", "MY FATHER said: Mrs Smith is a waitress"),
        (WOMEN_MEN, "The chief asked her to wait", "The chief asked him to wait"),
        ("old and young people", "An old man met a young woman.", "A young man met an old woman."),
        ("Black and white people", "Black people and a white car", "White people and a white car"),
        ("Muslims and Christians", "Two Muslims and a Christian man", "Two Christians and a Muslim man"),
        ("gay and straight people", "a gay couple in a straight line", "a straight couple in a straight line"),
        ("poor and rich people", "Rich people, poor results", "Poor people, poor results"),
    ],
)
def test_terms_of_people_are_swapped_with_their_case_and_article(pair: str, text: str, swapped: str) -> None:
    assert swap(text, pair).text == swapped


@pytest.mark.parametrize("pair", PAIRS)
def test_a_text_without_terms_stays_as_it_is(pair: str) -> None:
    text = "The old bridge is short;\n\n  a straight black road, Hersham, rich yields"
    found = swap(text, pair)
    assert (found.text, found.first, found.second) == (text, 0, 0)


def test_swapping_twice_gives_the_text_again() -> None:
    text = "She and her brother saw him. His wife is an actress; the house is hers. Old people and young women."
    for pair in PAIRS:
        assert swap(swap(text, pair).text, pair).text == text


def test_both_sides_are_counted() -> None:
    found = swap("Her son and his sister met a woman", WOMEN_MEN)
    assert (found.first, found.second) == (3, 2)
