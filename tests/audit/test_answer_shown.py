"""quality.answer_shown: a prompt that shows its answer is told from words that stand there by chance."""

import pytest

from multitune.audit.answer_shown import CHECKS, shows
from tests.audit.made import SENTENCES, findings, labelled, made, measures

(CHECK,) = CHECKS


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [("say no to it", "no", True), ("i know", "no", False), ("it is 12", "2", False), ("(no)", "no", True)],
)
def test_an_answer_is_shown_as_words_of_its_own(prompt: str, answer: str, expected: bool) -> None:
    assert shows(prompt, answer) is expected


def test_labels_in_the_prompt_are_found_and_measured() -> None:
    one = made(train=[(f"{text} Label: {label}", label) for text, label in labelled(SENTENCES)])
    (found,) = findings(CHECK, one)
    assert (found.severity, found.rows, found.of) == ("high", 24, 24)
    (excess,) = measures(CHECK, one).values()
    assert 0.3 < excess < 0.7  # of two labels, one is right by chance in half of the rows


def test_labels_that_people_say_in_many_texts_are_of_medium_severity_and_the_texts_are_shown() -> None:
    rows = [(f"{text} {label if at % 2 else ''}", label) for at, (text, label) in enumerate(labelled(SENTENCES))]
    (found,) = findings(CHECK, made(instruction="Which team is this for? Be sure.\n\n", train=rows))
    assert (found.severity, found.rows, found.of) == ("medium", 12, 24)
    assert found.examples and not any("Which team" in one.text for one in found.examples)


def test_labels_that_every_prompt_lists_are_no_finding() -> None:
    one = made(train=[(f"{text} Answer yes or no.", label) for text, label in labelled(SENTENCES)])
    assert findings(CHECK, one) == []


def test_an_instruction_that_names_a_label_is_no_finding() -> None:
    assert findings(CHECK, made(instruction="Say yes if it is so.\n\n", train=labelled(SENTENCES))) == []


def test_a_task_that_copies_is_a_finding_of_low_severity() -> None:
    rows = [(text, " ".join(text.split()[:3])) for text in SENTENCES]
    (found,) = findings(CHECK, made(kind="generate", train=rows))
    assert found.severity == "low"
