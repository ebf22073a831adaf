"""What rows show: the text without the instruction that all rows of a set share."""

import pytest

from multitune.audit.duplicates import CHECKS
from multitune.audit.frames import Frame
from multitune.audit.rows import read_rows, shortened
from multitune.core.results.audit import Finding
from tests.audit.made import SENTENCES, labelled, made, seen


@pytest.mark.parametrize("rows", [3, 24])
def test_the_instruction_is_what_all_prompts_begin_with(rows: int) -> None:
    one = made(instruction="What is it?\n\n", train=labelled(SENTENCES[:rows]))
    assert [one.frame.inside(row.prompt) for row in one.rows("train")] == SENTENCES[:rows]


def test_a_first_word_that_all_texts_share_is_no_instruction() -> None:
    assert made(train=labelled(f"The {text}" for text in SENTENCES)).frame == Frame("", "")


def test_a_set_of_one_text_still_shows_it() -> None:
    text = "Is it?\n\nThe same everywhere."
    assert made(train=labelled([text] * 30)).frame.inside(text)


def test_equal_texts_have_equal_numbers_in_all_sets() -> None:
    sets = (made("a", instruction="One:\n", train=[("Buy  NOW", "yes")]), made("b", test=[("buy now", "no")]))
    rows = read_rows(seen(CHECKS[0], *sets))
    assert rows.shown[0] == rows.shown[1]
    assert rows.answer[0] != rows.answer[1]
    assert [rows.of(0, "train").tolist(), rows.of(1, "test").tolist(), rows.of(1, "train").tolist()] == [[0], [1], []]


def test_an_example_is_one_line_of_limited_length() -> None:
    assert "\n" not in shortened("a\n b")
    assert len(shortened("word " * 100)) == 160


@pytest.mark.parametrize("before", range(100, 170, 7))
def test_personal_data_is_masked_before_an_example_is_cut(before: int) -> None:
    shown = shortened(f"{'a' * before} 4539 1488 0343 6467 {'b' * 90}")
    assert "4539" not in shown and "6467" not in shown


def test_examples_of_duplicates_mask_personal_data() -> None:
    text = "Please charge the card 4539 1488 0343 6467 of the customer once more."
    one = made(train=labelled([*SENTENCES, text]), test=[(text, "yes")])
    found = [finding for finding in CHECKS[0].find(seen(CHECKS[0], one)) if isinstance(finding, Finding)]
    texts = [example.text for finding in found for example in finding.examples]
    assert any("<CARD>" in shown for shown in texts) and not any("4539" in shown for shown in texts)
