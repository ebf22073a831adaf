"""Rows that one set holds out are trained on by no other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import parse_config
from multitune.core.errors import DataError
from multitune.training.prepare import PreparedRun, prepare_run

Prepare = Callable[..., PreparedRun]
LONG = "and the rest of the review is long enough to be known again"


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"text": f"w{number} {LONG}", "label": ["red", "blue"][number % 2], **more}


@pytest.fixture
def prepare(base_folder: Path, tmp_path: Path) -> Prepare:
    """A run of tasks by name, each with rows by split, or a path and fields."""

    def prepared(tasks: dict[str, Any], **fields: Any) -> PreparedRun:
        made: dict[str, list[dict[str, Any]]] = {"tasks": [], "general": []}
        for name, (rows, settings) in tasks.items():
            if isinstance(rows, dict):
                for split, some in rows.items():
                    path = tmp_path / f"{name}.{split}.jsonl"
                    path.write_text("".join(json.dumps(one) + "\n" for one in some))
                rows = {split: f"{name}.{split}.jsonl" for split in rows}
            task = {
                "name": name,
                "kind": "classify",
                "prompt": "say {{ text }}",
                "answer": "{{ label }}",
                "data": rows,
            }
            made["general" if "share" in settings else "tasks"].append({**task, **settings})
        return prepare_run(parse_config({"base": str(base_folder), **made, **fields}, tmp_path))

    return prepared


def splits(train: range, validation: range, test: range, **more: Any) -> dict[str, Any]:
    named = {"train": train, "validation": validation, "test": test}
    return {split: [row(i, **more) for i in numbers] for split, numbers in named.items()}


FIRST = splits(range(20), range(20, 24), range(24, 34))


def size(run: PreparedRun, name: str) -> int:
    return len(run.tasks[name].tokens["train"])


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ({}, {}),
        ({}, {"share": 0.2, "kind": "generate"}),
        ({}, {"prompt": "copy {{ text }}"}),
        ({"n": 3}, {"prompt": "copy {{ text }} 3"}),
    ],
    ids=["same prompt", "general set", "other prompt", "other columns"],
)
def test_rows_that_another_set_holds_out_are_not_trained_on(
    prepare: Prepare, more: dict[str, Any], settings: dict[str, Any]
) -> None:
    run = prepare({"a": (FIRST, {}), "b": (splits(range(22, 60), range(60, 64), range(64, 70), **more), settings)})
    assert size(run, "a") == 20 and size(run, "b") == 38 - 12
    assert run.data_record().sets["b"].held_elsewhere == 12
    (note,) = (note for note in run.notes if "held out" in note)
    assert "b: 12 of 38 train rows are held out by another set (2 in validation of a, 10 in test of a)" in note


def test_two_tasks_of_one_file_hold_out_the_same_rows(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row(i, title=f"t{i}")) + "\n" for i in range(60)))
    run = prepare({"a": ("one.jsonl", {}), "b": ("one.jsonl", {"prompt": "copy {{ title }}"})})
    assert size(run, "a") == size(run, "b") > 40
    assert [len(run.tasks[name].tokens["test"]) for name in "ab"] == [len(run.tasks["a"].tokens["test"])] * 2
    assert not [note for note in run.notes if "held out by" in note]
    assert len([note for note in run.notes if "by hash of the row, as other sets read the same file" in note]) == 2


def test_a_short_value_in_common_makes_no_two_rows_the_same(prepare: Prepare) -> None:
    def short(numbers: range, **more: Any) -> list[dict[str, Any]]:
        return [{"text": f"w{i}", "label": ["red", "blue"][i % 2], **more} for i in numbers]

    first = {"train": short(range(20)), "validation": short(range(20, 24)), "test": short(range(24, 34))}
    second = {"train": short(range(20, 40), n=1), "validation": short(range(4), n=1), "test": short(range(4, 8), n=1)}
    run = prepare({"a": (first, {}), "b": (second, {"prompt": "copy {{ text }}"})})
    assert size(run, "a") == size(run, "b") == 20


def test_refuse_names_a_row_and_allow_only_tells(prepare: Prepare) -> None:
    tasks = {"a": (FIRST, {}), "b": (splits(range(22, 60), range(60, 64), range(64, 70)), {})}
    with pytest.raises(DataError, match=r"task 'b': 12 of 38 train rows are held out by another set .*such as row"):
        prepare(tasks, cross_task_duplicates="refuse")
    run = prepare(tasks, cross_task_duplicates="allow")
    assert size(run, "b") == 38 and any("trained on all the same" in note for note in run.notes)


def test_a_set_whose_every_row_is_held_out_is_refused(prepare: Prepare) -> None:
    with pytest.raises(DataError, match="none is left to train on"):
        prepare({"a": (FIRST, {}), "b": (splits(range(24, 34), range(60, 64), range(64, 70)), {})})


def test_another_spelling_of_a_row_is_the_same_row(prepare: Prepare) -> None:
    def cafe(text: str, numbers: range) -> list[dict[str, Any]]:
        return [{"text": f"{text} w{i}", "label": ["red", "blue"][i % 2]} for i in numbers]

    first = {"train": cafe("a", range(9)), "validation": cafe("b", range(4)), "test": cafe("caf\u00e9", range(4))}
    second = {**first, "train": cafe("Cafe\u0301", range(9)), "test": cafe("c", range(4))}
    run = prepare({"a": (first, {}), "b": (second, {})})
    assert size(run, "b") == 5


@pytest.mark.parametrize(
    "settings",
    [{}, {"prompt": "copy {{ text }}"}, {"share": 0.2}],
    ids=["same prompt", "other prompt", "general set"],
)
@pytest.mark.parametrize("held", [22, 30], ids=["validation", "test"])
def test_a_shot_that_is_given_is_no_row_that_another_set_holds_out(
    prepare: Prepare, settings: dict[str, Any], held: int
) -> None:
    def run(shot: int, **fields: Any) -> PreparedRun:
        second = splits(range(40, 60), range(60, 64), range(64, 74))
        return prepare({"first": (FIRST, {}), "second": (second, {**settings, "shots": [row(shot)]})}, **fields)

    split = "validation" if held == 22 else "test"
    with pytest.raises(DataError, match=rf"task 'second': shots: .*w{held} .* is a row of {split} of first"):
        run(held)
    for free in (run(3), run(held, cross_task_duplicates="allow")):
        assert len(free.tasks["second"].data.task.shots) == 1
