"""What `check` tells of rows that would surprise their owner."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import parse_config
from multitune.core.results.data import DataSummary
from multitune.data.summary import summarise
from multitune.training.prepare import prepare_run

Summary = Callable[..., DataSummary]


@pytest.fixture
def summary(base_folder: Path, tmp_path: Path) -> Summary:
    def made(labels: list[Any], texts: list[str] | None = None, **fields: Any) -> DataSummary:
        rows = [
            {"text": (texts or [f"w{i}" for i in range(60)])[i], "label": labels[i % len(labels)]} for i in range(60)
        ]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = {"name": "a", "kind": "classify", "prompt": "say {{ text }}", "answer": "{{ label }}", **fields}
        run = prepare_run(
            parse_config({"base": str(base_folder), "tasks": [{**task, "data": "rows.jsonl"}]}, tmp_path)
        )
        return summarise(run.tasks["a"], run.chat)

    return made


def test_labels_are_counted_in_each_split_and_add_up(summary: Summary) -> None:
    found = summary(["red", "red", "blue"])
    assert [one.label for one in found.labels] == ["red", "blue"]
    assert [sum(one.rows.values()) for one in found.labels] == [40, 20]
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["red"], "every answer is 'red'"),
        (["Red", "red", "red.", "blue"], "3 labels may be one and the same: "),
        ([0, 1, 1.0, True, "2"], "3 labels may be one and the same: "),
        (["spam", "spam\u200b", "\u200espam", "ham"], "3 labels may be one and the same: "),  # as phones copy text
        (["SPAM", "ＳＰＡＭ", "ham"], "2 labels may be one and the same: "),
        (["❤", "❤\ufe0f", "ham"], "2 labels may be one and the same: "),
        (["“yes”", "yes", "no"], "2 labels may be one and the same: "),
        (["red", "#REF!", "blue"], "labels look like missing values: '#REF!'"),
        (["red", "NA", "nan"], "labels look like missing values: 'NA', 'nan'"),
        (["red", "blue"] * 29 + ["red", "2"], "1 of 3 labels have fewer than 3 training rows, such as '2'"),
    ],
)
def test_labels_that_would_surprise_are_told(summary: Summary, labels: list[Any], says: str) -> None:
    assert any(says in line for line in summary(labels).warnings)


def test_prompts_with_several_answers_and_copies_are_told(summary: Summary) -> None:
    texts = [f"w{i // 3}" for i in range(60)]
    found = summary(["red", "blue", "red"], texts)
    assert any("prompts have several answers in training rows" in line for line in found.warnings)
    assert found.duplicates > 10 and f"{found.duplicates} of" in " ".join(found.warnings)


def test_an_answer_that_repeats_the_prompt_is_told(summary: Summary) -> None:
    found = summary(["red"], kind="generate", prompt="{{ text }}", answer="{{ text }}")
    assert any("answers repeat their prompt" in line for line in found.warnings)


def test_an_answer_without_a_column_is_told(summary: Summary) -> None:
    found = summary(["red"], kind="generate", answer="red")
    assert any("the answer shows no column" in line for line in found.warnings)


def test_texts_of_one_greatest_length_were_cut_by_their_source(summary: Summary) -> None:
    texts = [(f"w{i} " * 60)[: 120 if i % 2 else 60 + i] for i in range(60)]
    assert any("prompts have exactly" in line for line in summary(["red", "blue"], texts).warnings)


def test_the_example_reads_as_the_model_reads_it(summary: Summary) -> None:
    found = summary(["red", "blue"])
    assert found.example is not None and found.shortest is not None and found.longest is not None
    loss = [piece for piece in found.example.pieces if piece.loss]
    assert loss[0].text in ("red", "blue") and loss[-1].text == "<end>" and loss[-1].control
    assert "say" in found.example.pieces[0].text and not found.example.pieces[0].loss
    assert found.shortest.tokens <= found.example.tokens <= found.longest.tokens
    assert found.lengths[-1].up_to == found.longest.tokens


def test_labels_of_sets_are_counted_one_by_one_and_rows_without_any_as_none(summary: Summary) -> None:
    found = summary([["red", "blue"], ["red"], []], kind="labels", answer="{{ label | labels }}")
    assert {one.label: sum(one.rows.values()) for one in found.labels} == {"red": 40, "blue": 20, "none": 20}
    assert found.warnings == ()


def test_labels_that_are_several_in_one_are_told_with_what_to_write(summary: Summary) -> None:
    found = summary(["red", "blue", "red;blue", "blue; red"])
    assert any("look like several in one, such as" in one and 'labels(";")' in one for one in found.warnings)
