"""Multiple choice: the likeliest of a row's own options, and the likelihood of plain texts, as a task scores them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import parse_config
from multitune.config.source import SourceConfig
from multitune.config.task import TaskConfig
from multitune.core.records import Example
from multitune.data.tokenizer import ChatFormat
from multitune.inference.local import LocalModel
from multitune.inference.options import choose_options
from multitune.model.bank import AdapterBank
from multitune.tasks.task import Task

OPTIONS = [["w1", "w2 w3 w4", "blue"], ["red", "w7 w8"], ["w9", "w10", "w11 w12", "say"], ["copy w5", "w6"]]


@pytest.fixture
def model(bank: AdapterBank, chat: ChatFormat, tmp_path: Path) -> LocalModel:
    task = {"name": "t", "data": "x.jsonl", "kind": "generate", "prompt": "p", "answer": "a"}
    return LocalModel(bank, "first", chat, parse_config({"base": "b", "tasks": [task]}, tmp_path))


def rows() -> list[Example]:
    return [
        Example("t", str(i), f"say w{i}", options[0], options[0], options=tuple(options))
        for i, options in enumerate(OPTIONS)
    ]


def nats(model: LocalModel, row: Example, option: str) -> float:
    alone = Example(row.task, row.id, row.prompt, option, option)
    return float(model.loglikelihood([alone]).nats[0])


@pytest.mark.parametrize("normalized", [False, True])
def test_the_likeliest_option_of_each_row_is_chosen(model: LocalModel, normalized: bool) -> None:
    for row, found in zip(rows(), choose_options(model, rows(), normalized), strict=True):
        scores = {o: nats(model, row, o) / (len(o.encode()) if normalized else 1) for o in row.options}
        assert found.text == max(scores, key=lambda option: scores[option])


def test_length_makes_a_difference(model: LocalModel) -> None:
    plain, normalized = (choose_options(model, rows(), way) for way in (False, True))
    assert [one.text for one in plain] != [one.text for one in normalized]


def test_the_loss_is_that_of_the_right_option(model: LocalModel) -> None:
    found = choose_options(model, rows())
    expected = model.loglikelihood(rows()).loss
    assert [one.loss for one in found] == pytest.approx(expected.tolist(), rel=1e-4)


def test_rows_without_a_known_answer_have_no_loss(model: LocalModel) -> None:
    asked = [Example("t", "1", "say w1", "", "", options=("w1", "w2"))]
    assert choose_options(model, asked)[0].loss is None


@pytest.mark.parametrize("normalized", [False, True])
def test_the_right_option_has_the_rank_of_its_likelihood(model: LocalModel, normalized: bool) -> None:
    asked = [replace(row, answer=option) for row in rows() for option in row.options]
    for row, one in zip(asked, choose_options(model, asked, normalized), strict=True):
        scores = [nats(model, row, o) / (len(o.encode()) if normalized else 1) for o in row.options]
        assert one.rank == 1 + sum(score > scores[row.options.index(row.answer)] for score in scores)
        assert (one.rank == 1) == (one.text == row.answer)
    assert choose_options(model, [replace(asked[0], answer="")])[0].rank is None


def task(**fields: Any) -> Task:
    return Task(TaskConfig(name="t", data=SourceConfig(train="x"), **fields))


CHOICE = {"kind": "choice", "prompt": "{{ q }}", "options": "o", "answer": "{{ o | option(a) }}"}


def test_a_choice_is_right_or_wrong() -> None:
    choice = task(**CHOICE)
    (row,) = choice.examples([{"q": "Which?", "o": ["fig", "pear"], "a": 1}])
    assert [choice.predict(row, output).score for output in ("pear", " Pear.", "fig", "plum")] == [1, 1, 0, 0]
    assert choice.metric.name == "accuracy"


@pytest.mark.parametrize(("metric", "score"), [("mrr", 1 / 3), ("ndcg", 0.5), ("recall_at_3", 1), ("accuracy", 0)])
def test_a_metric_that_ranks_scores_the_rank_and_any_other_what_was_chosen(metric: str, score: float) -> None:
    chosen = task(**CHOICE, metric=metric)
    (row,) = chosen.examples([{"q": "which", "o": ["one", "two", "three"], "a": 2}])
    assert chosen.predict(row, "one", rank=3).score == pytest.approx(score)
    # Of a model that tells no likelihoods the first place alone is known.
    assert [chosen.predict(row, output).score for output in ("three", "one", "what")] == [1, 0, 0]


@pytest.mark.parametrize("options", [["fig"], ["fig", "fig"], ["fig", ""], "fig", None, [["fig"], ["pear"]]])
def test_options_that_are_no_choice_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"row 1 has the options .* Give it a list of two or more different texts"):
        task(**{**CHOICE, "answer": "fig"}).examples([{"q": "Which?", "o": options, "a": 0}])


def test_an_answer_that_is_no_option_is_refused() -> None:
    with pytest.raises(ValueError, match=r"row 1 has the answer '1', which is none of its options \('fig', 'pear'\)"):
        task(**{**CHOICE, "answer": "{{ a }}"}).examples([{"q": "Which?", "o": ["fig", "pear"], "a": 1}])


@pytest.mark.parametrize("answer", [-1, 2, "C", "plum", None])
def test_a_number_or_letter_beyond_the_options_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"option: .* is none of 2 options, counted from 0"):
        task(**CHOICE).examples([{"q": "Which?", "o": ["fig", "pear"], "a": answer}])


def test_an_answer_that_could_be_two_options_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is an option itself and the place of another"):
        task(**CHOICE).examples([{"q": "Which?", "o": ["2", "0"], "a": "0"}])


def test_a_plain_text_is_scored_by_the_likelihood_of_its_tokens() -> None:
    text = task(kind="text", answer="{{ text }}")
    (row,) = text.examples([{"text": "w1 w2"}])
    assert (row.prompt, row.asked) == ("", "w1 w2")
    assert text.predict(row, "", loss=math.log(4)).score == pytest.approx(0.25)
    assert text.metric.name == "token_likelihood"
