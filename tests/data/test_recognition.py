"""Rows are recognised by their columns: one test per shape, and one per way in which that can go wrong."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from multitune.config.load import dump_config, load_config, parse_config
from multitune.config.source import SourceConfig
from multitune.config.task import TaskConfig
from multitune.core.errors import DataError, TaskError
from multitune.core.records import Example
from multitune.data.recognition import recognise
from multitune.data.run_sets import read_sets
from multitune.data.sources import load_rows
from multitune.data.taskdata import prepare_task
from multitune.tasks.task import Task

Rows = list[dict[str, Any]]
TURNS = [
    {"from": "system", "value": "You sell tea."},
    {"from": "human", "value": "Is it green?"},
    {"from": "gpt", "value": "It is."},
    {"from": "human", "value": "And cold?"},
    {"from": "gpt", "value": "No."},
]


def write(folder: Path, rows: Rows) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def recognised(path: str, **fields: Any) -> tuple[TaskConfig, str]:
    config = TaskConfig.model_validate({"name": "t", "data": {"train": path}, **fields})
    whole, notes = recognise(config, load_rows(config.data, "task 't'")["train"])
    return whole, notes[0]


def examples(path: str, **fields: Any) -> list[Example]:
    config, _ = recognised(path, **fields)
    return Task(config).examples(load_rows(SourceConfig(train=path), "task 't'")["train"])


def asked(path: str, **fields: Any) -> list[tuple[str, str]]:
    return [(example.prompt, example.answer) for example in examples(path, **fields)]


def refusal(path: str, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        recognised(path, **fields)
    return str(caught.value)


@pytest.mark.parametrize(("role", "content", "names"), [("role", "content", 0), ("from", "value", 1)])
def test_chats_of_openai_and_of_sharegpt_read_alike(tmp_path: Path, role: str, content: str, names: int) -> None:
    words = [{"system": "system", "human": "user", "gpt": "assistant"}.get(turn["from"], "") for turn in TURNS]
    turns = [
        {role: (word, turn["from"])[names], content: turn["value"]} for word, turn in zip(words, TURNS, strict=True)
    ]
    path = write(tmp_path, [{"messages": turns}])
    assert recognised(path)[0].messages == "messages"
    assert asked(path) == [
        ("system: You sell tea.\n\nuser: Is it green?", "It is."),
        ("system: You sell tea.\n\nuser: Is it green?\n\nassistant: It is.\n\nuser: And cold?", "No."),
    ]
    assert asked(path, turns="last") == asked(path)[1:]


def test_a_column_with_the_system_text_stands_before_its_chat(tmp_path: Path) -> None:
    path = write(tmp_path, [{"system": "Be brief.", "conversations": TURNS[1:3]}, {"conversations": TURNS[1:3]}])
    assert [prompt for prompt, _ in asked(path)] == ["system: Be brief.\n\nuser: Is it green?", "Is it green?"]


def test_a_chat_that_is_cut_into_prompt_and_completion_learns_the_completion(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    path = write(tmp_path, [{"prompt": turns, "completion": [{"role": "assistant", "content": "d"}]}])
    assert asked(path) == [("user: a\n\nassistant: b\n\nuser: c", "d")]


@pytest.mark.parametrize("empty", [None, ""])
def test_an_instruction_of_alpaca_stands_alone_where_its_input_is_empty(tmp_path: Path, empty: Any) -> None:
    rows = [
        {"instruction": "Name a fruit.", "input": empty, "output": "fig"},
        {"instruction": "Translate.", "input": "figue", "output": "fig", "text": "### Instruction: Translate."},
    ]
    path = write(tmp_path, rows)
    assert asked(path) == [("Name a fruit.", "fig"), ("Translate.\n\nfigue", "fig")]
    assert recognised(path)[1].endswith("not read: text")


@pytest.mark.parametrize(("asks", "answers"), [("prompt", "completion"), ("question", "answer"), ("input", "target")])
def test_a_column_that_asks_and_one_that_answers_are_a_pair(tmp_path: Path, asks: str, answers: str) -> None:
    assert asked(write(tmp_path, [{asks: "1 + 1?", answers: "two"}])) == [("1 + 1?", "two")]


def test_a_text_alone_is_learned_as_a_whole(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": 1, "text": "It rained. Then it stopped."}])
    assert recognised(path)[0].kind == "text"
    assert asked(path) == [("", "It rained. Then it stopped.")]


def test_a_text_with_a_label_is_classified(tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": f"tweet {i}", "label": ["up", "down"][i % 2]} for i in range(8)])
    config, note = recognised(path)
    assert (config.kind, config.labels) == ("classify", None)
    assert asked(path)[1] == ("Classify this text. Answer with its label alone.\n\ntweet 1", "down")
    assert "kind: classify" in note and "metric: macro_f1" in note


@pytest.mark.parametrize(
    "labels",
    [
        {"tags": [["b", "a"], ["a"], ["b"], []]},
        {"tags": ["b; a", "a", "b", "a;b"]},
        {"genres": ["b|a", "a", "b", "a|b"]},
        {"a": [1, 1, 0, 0], "b": [1, 0, 1, 0]},
    ],
)
def test_a_text_with_several_labels_is_answered_by_one_per_line(tmp_path: Path, labels: dict[str, list[Any]]) -> None:
    rows = [{"text": f"post {i}", **{name: cells[i] for name, cells in labels.items()}} for i in range(4)]
    config, note = recognised(write(tmp_path, rows))
    assert config.kind == "labels" and "metric: micro_f1" in note
    assert [answer for _, answer in asked(str(tmp_path / "rows.jsonl"))][:3] == ["a\nb", "a", "b"]
    names = " Labels: a, b." if "a" in labels else ""
    prompt = f'Which labels does this text have? Write one per line, or "none".{names}\n\npost 0'
    assert asked(str(tmp_path / "rows.jsonl"))[0][0] == prompt


def test_names_of_classes_in_lists_are_the_labels(tmp_path: Path) -> None:
    of = datasets.ClassLabel(names=["joy", "fear"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.Sequence(of)})
    path = parquet(tmp_path, {"text": ["a", "b", "c"], "labels": [[1, 0], [], [1]]}, features)
    assert recognised(path)[0].labels == ("joy", "fear")
    assert [answer for _, answer in asked(path)] == ["fear\njoy", "none", "fear"]


def test_a_text_with_decimal_numbers_is_a_regression(tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": f"film {i}", "score": i / 4} for i in range(4)])
    assert recognised(path)[0].kind == "regress"
    assert asked(path)[3][1] == "0.75"


def test_words_with_tags_are_entities(tmp_path: Path) -> None:
    path = write(tmp_path, [{"tokens": ["Ada", "met", "Kim"], "ner_tags": ["B-PER", "O", "B-PER"]}])
    assert recognised(path)[0].kind == "tag"
    assert asked(path)[0][1] == "Ada, PER\nKim, PER"


def parquet(folder: Path, rows: dict[str, list[Any]], features: datasets.Features) -> str:
    path = folder / "rows.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return str(path)


def test_names_of_classes_in_parquet_are_the_labels(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    path = parquet(tmp_path, {"text": ["a", "b", "c"], "label": [1, 0, 1]}, features)
    assert recognised(path)[0].labels == ("bad", "good")
    assert [answer for _, answer in asked(path)] == ["good", "bad", "good"]
    assert asked(path)[0][0] == "Classify this text. Answer with one of: bad, good.\n\na"


def test_a_class_that_has_no_name_is_an_error(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    path = parquet(tmp_path, {"text": ["a", "b"], "label": [1, -1]}, features)
    with pytest.raises(TaskError, match=r"named: -1 is no number from 0 to 1.*row 2"):
        asked(path)


def test_names_of_tags_in_parquet_are_the_tags(tmp_path: Path) -> None:
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-LOC", "I-LOC"]))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    path = parquet(tmp_path, {"tokens": [["New", "York", "sleeps"]], "ner_tags": [[1, 2, 0]]}, features)
    (example,) = examples(path)
    assert example.gold == (("New York", "LOC"),)
    assert "Types: LOC." in example.prompt


FRUITS = ["fig", "pear", "plum"]


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ({"choices": FRUITS, "answer": 2}, {"choices": FRUITS, "answer": 0}),
        ({"choices": FRUITS, "answer": "C"}, {"choices": FRUITS, "answer": "A"}),
        ({"choices": FRUITS, "answer": "plum"}, {"choices": FRUITS, "answer": "fig"}),
        ({"endings": FRUITS, "label": "2"}, {"endings": FRUITS, "label": "0"}),
        ({"choices": FRUITS, "answer": 3}, {"choices": FRUITS, "answer": 1}),
        (
            {"choices": {"text": FRUITS, "label": ["1", "2", "x"]}, "answerKey": "x"},
            {"choices": {"text": FRUITS, "label": ["1", "2", "x"]}, "answerKey": "1"},
        ),
        (
            {"options": dict(zip("ABC", FRUITS, strict=True)), "answer_idx": "C"},
            {"options": dict(zip("ABC", FRUITS, strict=True)), "answer_idx": "A"},
        ),
        (
            dict(zip("ABC", FRUITS, strict=True)) | {"answer": "C"},
            dict(zip("ABC", FRUITS, strict=True)) | {"answer": "A"},
        ),
    ],
)
def test_the_answer_of_a_choice_is_a_number_a_letter_or_an_option(tmp_path: Path, row: Any, other: Any) -> None:
    path = write(tmp_path, [{"question": "Which is blue?", **row}, {"question": "Which is dry?", **other}])
    first, second = examples(path)
    assert (first.answer, second.answer) == ("plum", "fig")
    assert first.options == tuple(FRUITS)
    expected = "Which is blue?\n\n- fig\n- pear\n- plum\n\nAnswer with one of these options."
    assert first.prompt == expected


def test_numbers_that_may_count_from_zero_or_from_one_are_not_guessed(tmp_path: Path) -> None:
    rows = [
        {"question": "Which?", "choices": FRUITS, "answer": 1},
        {"question": "And?", "choices": FRUITS, "answer": 2},
    ]
    assert "have no shape that is recognised" in refusal(write(tmp_path, rows))


def test_columns_of_no_shape_are_listed_with_what_to_write(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, [{"text": "a", "stars": 3}]))
    assert message.startswith("task 't': its columns (text, stars) have no shape that is recognised. Write kind")


def test_two_shapes_are_refused_by_name(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, [{"prompt": "a", "completion": "b", "messages": TURNS}]))
    assert "can be read in several ways: conversations (messages); or pairs of prompt and completion" in message


def test_two_columns_of_labels_are_refused(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "category": "xy"[i % 2], "intent": "ab"[i % 2]} for i in range(8)]
    assert "a text with a label in category" in refusal(write(tmp_path, rows))


def test_preference_pairs_are_refused_with_a_pointer(tmp_path: Path) -> None:
    assert "DPOTrainer of TRL" in refusal(write(tmp_path, [{"prompt": "a", "chosen": "b", "rejected": "c"}]))


def test_what_the_run_file_states_stays(tmp_path: Path) -> None:
    path = write(tmp_path, [{"question": "1 + 1?", "answer": "2"}])
    config, _ = recognised(path, kind="number", prompt="Add: {{ question }}")
    assert (config.kind, config.prompt, config.answer) == ("number", "Add: {{ question }}", "{{ answer }}")


def test_a_stated_prompt_does_not_go_with_a_conversation(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, [{"messages": TURNS}]), prompt="{{ messages[0].value }}")
    assert "`messages` stands in place of `prompt` and `answer`" in message


def test_a_kind_that_is_none_of_the_rows_is_refused(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, [{"question": "q", "answer": "a"}]), kind="tag")
    assert "are pairs of question and answer, of kind generate, and the run file says kind tag" in message


def test_a_conversation_that_a_prompt_prints_whole_is_refused_with_the_remedy(tmp_path: Path) -> None:
    data = {"train": write(tmp_path, [{"messages": TURNS}])}
    config = TaskConfig(name="t", data=SourceConfig(**data), kind="generate", prompt="{{ messages }}", answer="x")
    with pytest.raises(TaskError, match=r"Write `messages: messages` in place of prompt and answer \[row 1\]"):
        prepare_task(config, 1)


def test_a_prompt_out_of_single_turns_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path, [{"messages": TURNS}])
    note = recognised(path, kind="generate", prompt="{{ messages[0].value }}", answer="{{ messages[-1].value }}")[1]
    assert note.startswith("the prompt is written out of the turns in messages. `messages: messages`")


@pytest.mark.parametrize("cell", [None, []])
def test_a_row_without_its_conversation_is_named(tmp_path: Path, cell: Any) -> None:
    with pytest.raises(TaskError, match=r"task 't': row 2: messages: .* is no list of turns"):
        asked(write(tmp_path, [{"messages": TURNS}, {"messages": cell}]))


def test_the_run_file_of_a_run_says_what_was_recognised(tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": f"tweet {i}", "label": ["up", "down"][i % 2]} for i in range(40)])
    config = parse_config({"tasks": [{"name": "t", "data": path}]}, tmp_path)
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(read_sets(config).stated(config)))
    (again,) = load_config(file).tasks
    assert (again.kind, again.answer, again.is_complete) == ("classify", "{{ label }}", True)
