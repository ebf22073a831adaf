"""Terms for groups of people: which are found, in which form, and when they are surely about people."""

import pytest

from multitune.audit.lexicon import Term, holistic_bias

LEXICON = holistic_bias()


def of_people(text: str) -> list[str]:
    return [mention.term.name for mention in LEXICON.mentions(text)[0] if mention.of_person]


def others(text: str) -> list[str]:
    return [mention.term.name for mention in LEXICON.mentions(text)[0] if not mention.of_person]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Muslims and a Muslim met Jewish friends.", ["Muslim", "Muslim", "Jewish"]),
        ("Native Americans, not Americans", ["Native American", "American"]),
        ("a rich, bald man", ["bald", "men"]),
        ("a bald rich man", ["bald", "rich", "men"]),
        ("She is so rich.", ["women", "rich"]),
        ("people with disabilities", ["with disability"]),
        ("a wheelchair user", ["wheelchair user"]),
        ("65-year-old women; 65 year old women", ["65-year-old", "women", "65-year-old", "women"]),
        ("middle‑aged and middle-aged", ["middle-aged", "middle-aged"]),
        ("the Chinese community", ["Chinese"]),
        ("HIS father and her mother", ["men", "men", "women", "women"]),
    ],
)
def test_a_mention_of_people_is_found_in_every_form(text: str, names: list[str]) -> None:
    assert of_people(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "short positions and poor results",
        "American Airlines and the Chinese government",
        "rich with people",
        "The shares are short. People sell.",
        "a bald tyre",
        "the black market for white goods",
        "a large family of independent companies",
        "We rate it overweight, a senior note in a mature market",
        "trans fat, a straight line and an ace",
        "Christian Louboutin",
    ],
)
def test_a_term_about_something_else_is_no_mention_of_people(text: str) -> None:
    assert of_people(text) == []
    assert others(text) != []


def test_a_word_that_holds_a_term_is_none() -> None:
    assert LEXICON.mentions("manual heritage shepherd menu blackmail")[0] == []


def test_words_are_counted_once_whatever_is_mentioned() -> None:
    assert LEXICON.mentions("a short man, and 2 women!")[1] == 6
    assert LEXICON.mentions("net sales rose")[1] == 3


def test_the_lexicon_holds_every_axis_of_holistic_bias_but_the_made_up_words() -> None:
    axes = {term.axis for term in LEXICON.terms}
    assert len(axes) == 13 and "gender" in axes and "nonce" not in axes
    assert sum(bool(term.bucket) for term in LEXICON.terms) > 550


def test_a_term_is_shown_where_it_stands() -> None:
    text = "In the report, women lead."
    assert LEXICON.place(text, Term("gender", "women")) == (15, 20)
    assert LEXICON.place("nobody", Term("gender", "women")) is None
