import json
from pathlib import Path
from typing import Any

import pytest

from multitune.config.schema import TaskConfig
from multitune.core.errors import DataError, TaskError
from multitune.core.text import text_key
from multitune.data.taskdata import TaskData, prepare_task

Rows = list[dict[str, Any]]


def rows(count: int, start: int = 0) -> Rows:
    return [
        {"text": f"tweet {i}", "label": ["up", "down"][i % 2], "page": f"p{i // 5}"}
        for i in range(start, start + count)
    ]


def write(folder: Path, **splits: Rows) -> dict[str, str]:
    for split, content in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return {split: str(folder / f"{split}.jsonl") for split in splits}


def prepare(data: dict[str, str], seed: int = 17, **fields: Any) -> TaskData:
    settings = {"name": "tweets", "kind": "classify", "prompt": "Tweet: {{ text }}", "answer": "{{ label }}"} | fields
    return prepare_task(TaskConfig(data=data, **settings), seed)  # type: ignore


def sizes(data: TaskData) -> tuple[int, ...]:
    return tuple(len(data.examples[split]) for split in ("train", "validation", "test"))


def ids(data: TaskData, split: Any) -> list[str]:
    return [example.id for example in data.examples[split]]


def test_splits_with_names_stay_as_they_are(tmp_path: Path) -> None:
    data = prepare(write(tmp_path, train=rows(20), validation=rows(5, 20), test=rows(6, 25)))
    assert sizes(data) == (20, 5, 6)
    assert data.notes == []


def test_absent_splits_are_carved_from_train(tmp_path: Path) -> None:
    data = prepare(write(tmp_path, train=rows(200)))
    assert sum(sizes(data)) == 200
    assert min(sizes(data)) > 5
    assert data.notes == [
        f"train: {sizes(data)[1]} for validation and {sizes(data)[2]} for test carved from 200 rows "
        "by hash of the prompt"
    ]


def test_a_carved_split_carries_the_digest_of_train(tmp_path: Path) -> None:
    data = prepare(write(tmp_path, train=rows(50), test=rows(5, 50)))
    assert data.digests["validation"] == data.digests["train"] != data.digests["test"]


def test_no_prompt_stands_in_two_splits(tmp_path: Path) -> None:
    train = [
        *rows(60),
        {"text": "TWEET  3", "label": "up", "page": "p"},
        {"text": "Tweet 62", "label": "up", "page": "p"},
    ]
    data = prepare(write(tmp_path, train=train, test=rows(5, 60)))
    keys = [{text_key(e.prompt) for e in part} for part in data.examples.values()]
    assert len(set.union(*keys)) == sum(map(len, keys))
    assert "train: 1 of 62 rows left out, as their prompt stands in validation or test as well" in data.notes


def test_a_document_stays_in_one_split(tmp_path: Path) -> None:
    data = prepare(write(tmp_path, train=rows(200)), group="page")
    pages = [{e.group for e in part} for part in data.examples.values()]
    assert len(set.union(*pages)) == sum(map(len, pages))


def test_a_limit_keeps_the_order_of_rows(tmp_path: Path) -> None:
    files = write(tmp_path, train=rows(50), validation=rows(5, 50), test=rows(5, 55))
    every, some = prepare(files), prepare(files, limit={"train": 10})
    assert sizes(some) == (10, 5, 5)
    assert ids(some, "train") == [id_ for id_ in ids(every, "train") if id_ in set(ids(some, "train"))]
    assert some.notes == ["as limit says, rows drawn: 10 of 50 train"]


def test_a_higher_limit_holds_the_rows_of_a_lower_one(tmp_path: Path) -> None:
    files = write(tmp_path, train=rows(50))
    low, high = (set(ids(prepare(files, limit={"train": limit}), "train")) for limit in (5, 15))
    assert low < high


def test_a_limit_draws_by_the_seed(tmp_path: Path) -> None:
    files = write(tmp_path, train=rows(50), validation=rows(5, 50), test=rows(5, 55))
    first, again, other = (ids(prepare(files, seed, limit={"train": 10}), "train") for seed in (1, 1, 2))
    assert first == again != other


def test_a_limit_moves_no_row_to_another_split(tmp_path: Path) -> None:
    files = write(tmp_path, train=rows(200))
    assert ids(prepare(files), "test") == ids(prepare(files, limit={"train": 10}), "test")


def test_a_label_held_out_by_chance_is_still_a_label(tmp_path: Path) -> None:
    train = rows(30)
    for i, row in enumerate(train):
        row["label"] = f"label {i:02}"
    data = prepare(write(tmp_path, train=train))
    assert len(data.task.labels) == 30


def test_a_test_label_that_train_lacks_is_refused(tmp_path: Path) -> None:
    odd = [{"text": "odd", "label": "sideways", "page": "p"}]
    with pytest.raises(TaskError, match="sideways"):
        prepare(write(tmp_path, train=rows(20), validation=rows(5, 20), test=odd))


def test_a_fault_of_a_row_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"row 2 .*train.jsonl"):
        prepare(write(tmp_path, train=[*rows(1), {"text": "x", "label": ""}]))


def test_a_share_of_zero_leaves_a_split_empty(tmp_path: Path) -> None:
    data = prepare(write(tmp_path, train=rows(20)), split={"validation": 0.2, "test": 0.0})
    assert sizes(data)[2] == 0 < sizes(data)[1]


@pytest.mark.parametrize(
    ("splits", "fields", "says"),
    [
        ({"train": rows(2)}, {}, "task 'tweets': its 2 train rows have too few different prompts"),
        ({"train": rows(9)}, {"split": {"validation": 0.6, "test": 0.6}}, "split holds out 1.2 of the rows"),
        ({"train": rows(4), "test": rows(9)}, {}, "every train row's prompt stands in validation or test as well"),
        ({"train": rows(9), "test": []}, {}, "test.jsonl holds no rows"),
    ],
)
def test_an_empty_split_is_refused(tmp_path: Path, splits: dict[str, Rows], fields: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        prepare(write(tmp_path, **splits), **fields)


def test_answers_that_may_mean_another_number_are_told(tmp_path: Path) -> None:
    content = [{"text": f"tweet {i}", "label": "1,5" if i % 2 else "2.5"} for i in range(40)]
    quiet = prepare(write(tmp_path, train=content), kind="number")
    content[3]["label"], content[4]["label"] = "1,2,3", "1,234"
    loud = prepare(write(tmp_path, train=content), kind="number")
    several, comma = (note for note in loud.notes if note not in quiet.notes and "carved" not in note)
    assert several.startswith("1 of 40 answers hold several numbers, and the last one counts: '1,2,3' reads 3.")
    assert comma.startswith("the comma is a decimal mark in '1,5' and parts thousands in '1,234'.")


def test_two_spellings_of_a_label_are_one_and_so_are_two_of_a_row(tmp_path: Path) -> None:
    spellings = ["caf\u00e9", "cafe\u0301"]
    content = [{"text": f"tweet {i}", "label": spellings[i % 2]} for i in range(40)]
    twins = [{**row, "text": f"{spelling} {row['text']}"} for row in content for spelling in spellings]
    data = prepare(write(tmp_path, train=twins))
    assert data.task.labels == (spellings[0],)
    keys = [
        {text_key(example.prompt) for example in data.examples[split]} for split in ("train", "validation", "test")
    ]
    assert sum(map(len, keys)) == 40 and sizes(data)[0] == 2 * len(keys[0])
    assert any(spellings[1] in example.prompt for example in data.examples["train"])


def test_the_indentation_of_a_text_answer_is_kept_and_that_of_a_label_is_not(tmp_path: Path) -> None:
    content = [{"text": f"def f{i}():", "label": f"    return {i}\n"} for i in range(40)]
    path = write(tmp_path, train=content)
    assert all(row.answer.startswith("    return") for row in prepare(path, kind="generate").examples["train"])
    assert all(row.answer.startswith("return") for row in prepare(path).examples["train"])


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_what_is_missing_is_told_like_null(tmp_path: Path, nothing: Any) -> None:
    for column, says in (
        ("label", "row 4 gives an empty answer"),
        ("text", "row 4 has nothing in text, which is all"),
    ):
        content = rows(20)
        content[3][column] = nothing
        with pytest.raises(TaskError, match=says):
            prepare(write(tmp_path, train=content))
    content = rows(20)
    content[3]["page"] = nothing
    with pytest.raises(TaskError, match="row 4 has nothing in the column 'page'"):
        prepare(write(tmp_path, train=content), group="page")
