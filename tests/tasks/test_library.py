"""Task templates: each is a task, says where it is from, and renders the rows of its home and of plain files."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import multitune.tasks.task
from multitune.config.schema import TaskConfig
from multitune.tasks.task import Task
from scripts import arithmetic

LIBRARY = Path(multitune.tasks.task.__file__).parent / "library"
METADATA = {"title", "home", "licence", "citation"}
NAMES = sorted(path.stem for path in LIBRARY.glob("*.yaml"))

# (template, a row with the columns of its home, the gold it should give)
HOME_ROWS: list[tuple[str, dict[str, Any], Any]] = [
    ("tfns", {"text": "$BYND down", "label": 0}, "bearish"),
    ("fpb", {"id": "fpb0", "query": "q", "answer": "neutral", "text": "t", "choices": ["x"], "gold": 1}, "neutral"),
    (
        "fiqa_sa",
        {"_id": "1", "sentence": "s", "target": "Royal Mail", "aspect": "a", "score": -0.374, "type": "headline"},
        "negative",
    ),
    (
        "headline",
        {
            "id": "0",
            "query": "Does it rise?",
            "answer": "Yes",
            "choices": ["Yes", "No"],
            "gold": 0,
            "label_type": "up",
        },
        "Yes",
    ),
    ("finqa", {"id": "finqa0", "query": "What is it?", "answer": "127.4", "text": "t"}, 127.4),
    ("convfinqa", {"id": "c0", "query": "And then?", "answer": "25.14", "turn": 1, "dialogue_id": 4}, 25.14),
    ("tatqa", {"id": "t0", "query": "Which?", "answer": "$1,496.5", "text": "t"}, "$1,496.5"),
    (
        "fin3",
        {"query": "q", "answer": "Silicium SAS, ORG\nJo, PER", "label": ["O"], "text": "t"},
        (("Silicium SAS", "ORG"), ("Jo", "PER")),
    ),
    ("sst", {"text": "lovely", "label": 4, "label_text": "very positive"}, "very positive"),
    ("sts-b", {"sentence1": "a", "sentence2": "b", "label": 3.799999952316284, "idx": 0}, 3.8),
    ("qqp", {"question1": "a", "question2": "b", "label": 1, "idx": 0}, "yes"),
    ("dolly", {"instruction": "Name it.", "context": "", "response": "Rose", "category": "open_qa"}, "Rose"),
    ("gsm8k", {"question": "How many?", "answer": "48/2 = <<48/2=24>>24\n#### 1,072"}, 1072.0),
    ("banking77", {"text": "Where is it?", "label": 11, "label_text": "card_arrival"}, "card arrival"),
    (
        "pubmedqa",
        {
            "pubid": 1,
            "question": "Do they?",
            "context": {"contexts": ["One.", "Two."], "labels": ["A", "B"]},
            "final_decision": "maybe",
        },
        "maybe",
    ),
    (
        "bitext_support",
        {
            "flags": "B",
            "instruction": "cancel {{Order Number}}",
            "category": "ORDER",
            "intent": "cancel_order",
            "response": "Sure.",
        },
        "Sure.",
    ),
    ("arithmetic", {"question": "What is 2 plus 3?", "answer": 5}, 5.0),
    ("mmlu", {"question": "Which?", "subject": "s", "choices": ["0", "1", "2", "3"], "answer": 1}, "B"),
]

# The same sets as they are found in plain files, with other columns or label types.
FILE_ROWS: list[tuple[str, dict[str, Any], Any]] = [
    ("tfns", {"text": "$BYND down", "label": "bearish"}, "bearish"),
    ("fpb", {"text": "t", "label": "neutral"}, "neutral"),
    ("fiqa_sa", {"text": "t", "label": "positive"}, "positive"),
    ("headline", {"question": "Does it rise?", "text": "gold down", "answer": "No"}, "No"),
    ("finqa", {"context": "c", "question": "More?", "answer": "yes"}, 1.0),
    (
        "convfinqa",
        {
            "golden_text": "",
            "golden_table": "a | b",
            "history": ["And?"],
            "question": "So?",
            "answer": -0.5,
            "dialogue_id": "d",
        },
        -0.5,
    ),
    (
        "convfinqa",
        {"golden_text": "t", "golden_table": "", "history": [], "question": "So?", "answer": False, "dialogue_id": 2},
        0.0,
    ),
    ("tatqa", {"table": "a | b", "paragraphs": "p", "question": "Which?", "answer": ["2019", "2018"]}, "2019, 2018"),
    ("tatqa", {"table": "a | b", "paragraphs": "p", "question": "Change?", "answer": -12.6}, "-12.6"),
    ("fin3", {"tokens": ["Jo", "left"], "ner_tags": ["I-PER", "O"]}, (("Jo", "PER"),)),
    ("fin3", {"text": "Jo left", "entities": "Jo, PER"}, (("Jo", "PER"),)),
    ("sst", {"sentence": "lovely", "label": 3}, "positive"),
    ("sts-b", {"sentence1": "a", "sentence2": "b", "similarity": 1.0}, 1.0),
    ("qqp", {"sentence1": "a", "sentence2": "b", "is_duplicate": 0.0}, "no"),
    ("dolly", {"instruction": "Name it.", "response": "Rose"}, "Rose"),
    ("banking77", {"text": "Where is it?", "category": "card_arrival"}, "card arrival"),
    ("pubmedqa", {"question": "Do they?", "context": "One.", "label": "no"}, "no"),
    ("mmlu", {"subject": "s", "question": "Which?", "A": 0, "B": 1, "C": 2, "D": 3, "answer": "B"}, "B"),
]


def template(name: str) -> dict[str, Any]:
    return yaml.safe_load((LIBRARY / f"{name}.yaml").read_text(encoding="utf-8"))


def task(name: str) -> Task:
    return Task(TaskConfig(**{key: value for key, value in template(name).items() if key not in METADATA}))


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_where_it_is_from_and_on_what_terms(name: str) -> None:
    assert all(template(name).get(key) for key in METADATA)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_named_as_its_file(name: str) -> None:
    assert task(name).name == name


def test_every_template_has_a_row_of_its_home() -> None:
    assert sorted(name for name, _, _ in HOME_ROWS) == NAMES


@pytest.mark.parametrize(("name", "row", "gold"), HOME_ROWS + FILE_ROWS)
def test_a_template_renders_its_rows(name: str, row: dict[str, Any], gold: Any) -> None:
    (example,) = task(name).examples([row])
    assert example.gold == gold


@pytest.mark.parametrize("rows", [HOME_ROWS, FILE_ROWS], ids=["home", "file"])
def test_multiple_choice_shows_each_choice_on_its_line(rows: list[tuple[str, dict[str, Any], Any]]) -> None:
    (row,) = [row for name, row, _ in rows if name == "mmlu"]
    (example,) = task("mmlu").examples([row])
    assert example.prompt == "Which?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer with one letter."


def test_the_arithmetic_questions_are_what_their_script_writes() -> None:
    written = (LIBRARY / "arithmetic.jsonl").read_text(encoding="utf-8")
    assert written == arithmetic.written(), "run: python -m scripts.arithmetic"


def test_every_arithmetic_question_is_asked_once_with_its_answer() -> None:
    rows = [json.loads(line) for line in arithmetic.written().splitlines()]
    signs = {"plus": "+", "minus": "-", "times": "*"}
    sums = [" ".join(signs.get(word, word) for word in row["question"][8:-1].split()) for row in rows]
    assert [eval(written) for written in sums] == [row["answer"] for row in rows]
    assert len(set(sums)) == len(rows) == 300


def test_an_instruction_with_a_context_shows_it() -> None:
    (example,) = task("dolly").examples([{"instruction": "Name it.", "context": "A rose.", "response": "Rose"}])
    assert example.prompt == "Name it.\n\nA rose."
