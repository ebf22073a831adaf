"""A perturbed row asks for the same answer, is the same each time, and is none where it reads as before."""

from typing import Any, get_args

import pytest

from multitune.audit.lexicon import holistic_bias
from multitune.config.robustness import Perturbation
from multitune.config.task import Kind, TaskConfig
from multitune.evaluation.changed_rows import PICKED, ChangedRow, changed_rows
from multitune.evaluation.perturbations import NEUTRAL, change_of, suits
from multitune.tasks.task import Task

NAMES: tuple[Perturbation, ...] = get_args(Perturbation)
ROWS = [{"text": "My card payment was declined again", "label": "declined"}, {"text": "Hi", "label": "greeting"}]


def task(**fields: Any) -> Task:
    given = {"name": "t", "kind": "classify", "prompt": "What is it? {{ text }}", "answer": "{{ label }}", **fields}
    made = Task(TaskConfig.model_validate({"data": {"train": "t.jsonl"}, **given}))
    made.fit_labels(["declined", "greeting", "other"])
    return made


def perturbed(name: Perturbation, rows: list[dict[str, Any]] = ROWS, seed: int = 1, **fields: Any) -> list[ChangedRow]:
    one = task(**fields)
    return changed_rows(one, one.examples(rows), rows, change_of(name, one, seed))


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_the_id_and_the_instruction_stay(name: Perturbation) -> None:
    row, *_ = perturbed(name)
    (was, _) = task().examples(ROWS)
    assert (row.place, row.example.id, row.example.gold, row.example.answer) == (0, was.id, "declined", "declined")
    assert row.example.prompt != was.prompt and row.example.prompt.startswith("What is it? ")


@pytest.mark.parametrize("name", NAMES)
def test_the_same_row_and_seed_give_the_same_text(name: Perturbation) -> None:
    assert perturbed(name) == perturbed(name)
    assert perturbed(name, list(reversed(ROWS)))[-1].example == perturbed(name)[0].example


def test_a_row_that_reads_as_before_is_left_out() -> None:
    assert [row.place for row in perturbed("typos")] == [0]  # `Hi` has no word to misspell
    assert perturbed("upper", [{"text": "ABC", "label": "other"}]) == []


def test_typos_keep_letters_and_the_ends_of_words() -> None:
    (row,) = perturbed("typos")
    was, now = ROWS[0]["text"].split(), row.example.prompt.removeprefix("What is it? ").split()
    assert was != now
    for one, other in zip(was, now, strict=True):
        assert sorted(one) == sorted(other) and (one[0], one[-1]) == (other[0], other[-1])


def test_white_space_keeps_the_words() -> None:
    row = perturbed("spaces")[0]
    assert row.example.prompt.split() == ["What", "is", "it?", *ROWS[0]["text"].split()]


@pytest.mark.parametrize("name", ["suffix", "label_words"])
def test_a_named_label_is_a_wrong_one(name: Perturbation) -> None:
    for row in perturbed(name):
        added = row.example.prompt.removeprefix(f"What is it? {ROWS[row.place]['text']}")
        assert row.example.gold not in added and any(label in added for label in task().labels)


def test_of_several_texts_only_the_longest_gets_more_text() -> None:
    rows = [{"text": "one two three four", "place": "here", "label": "other"}]
    (row,) = perturbed("long_after", rows, prompt="{{ place }}: {{ text }} End")
    assert row.example.prompt == f"here: one two three four\n\n{NEUTRAL} End"


def test_a_column_that_the_answer_is_made_of_stays() -> None:
    rows = [{"text": "some words here", "label": "other"}]
    (row,) = perturbed("upper", rows, prompt="{{ label }}? {{ text }}")
    assert row.example.prompt == "other? SOME WORDS HERE"


def test_options_of_a_choice_stay() -> None:
    rows = [{"text": "which one", "a": "left", "b": "right", "label": "left"}]
    fields = {"kind": "choice", "options": "[a, b]", "prompt": "{{ text }}: {{ a }} or {{ b }}"}
    (row,) = perturbed("upper", rows, **fields)
    assert (row.example.prompt, row.example.options) == ("WHICH ONE: left or right", ("left", "right"))


@pytest.mark.parametrize("name", NAMES)
def test_answers_that_copy_the_text_are_perturbed_only_around_it(name: Perturbation) -> None:
    copied: tuple[Kind, ...] = ("tag", "generate")
    assert all(suits(name, kind) == (name in ("long_before", "long_after", "suffix")) for kind in copied)
    assert not suits(name, "text")
    assert name == "label_words" or all(suits(name, kind) for kind in PICKED)


def test_the_neutral_text_names_nobody_and_no_number() -> None:
    assert holistic_bias().mentions(NEUTRAL)[0] == []
    assert not any(char.isdigit() for char in NEUTRAL)
