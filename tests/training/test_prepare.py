"""A run before training: what each kind of set brings into it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import parse_config
from multitune.core.errors import TaskError
from multitune.training.prepare import PreparedRun, prepare_run

Prepare = Callable[..., PreparedRun]
TASK = {"name": "task", "kind": "classify", "prompt": "say {{ text }}", "answer": "{{ label }}"}


@pytest.fixture
def prepare(base_folder: Path, tmp_path: Path) -> Prepare:
    """A run of one task of 40 rows, w0 to w39, that keeps one set: the rows from w38 to w57, with the given fields."""

    def written(name: str, numbers: range) -> str:
        rows = [{"text": f"w{i}", "label": ["red", "blue"][i % 2]} for i in numbers]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return name

    def prepared(run: dict[str, Any] | None = None, **fields: Any) -> PreparedRun:
        task = {**TASK, "data": {"train": written("task.jsonl", range(40))}, "split": {"test": 0}}
        kept = {**TASK, "name": "kept", "data": written("kept.jsonl", range(38, 58)), **fields}
        for split, numbers in {"first": range(40, 44), "last": range(44, 50)}.items():
            written(f"{split}.jsonl", numbers)
        raw = {"base": str(base_folder), "tasks": [task], "retention": [kept], **(run or {})}
        return prepare_run(parse_config(raw, tmp_path))

    return prepared


def rows(run: PreparedRun) -> dict[str, int]:
    return {split: len(tokens) for split, tokens in run.retention["kept"].tokens.items()}


def test_a_retention_set_is_never_drawn(prepare: Prepare) -> None:
    run = prepare()
    (plan,) = run.plans
    assert {draw.task for step in range(plan.spec.steps) for draw in plan.stream.draw(step)} == {"task"}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_row_of_a_retention_set_without_splits_serves(prepare: Prepare, split: str) -> None:
    assert rows(prepare({"evaluate": {"split": split}})) == {"train": 0, "validation": 0, "test": 0, split: 20}


def test_a_retention_set_with_splits_gives_the_evaluated_one(prepare: Prepare) -> None:
    data = {"train": "kept.jsonl", "validation": "first.jsonl", "test": "last.jsonl"}
    assert rows(prepare(data=data)) == {"train": 0, "validation": 0, "test": 6}


def test_a_retention_set_keeps_to_its_limit(prepare: Prepare) -> None:
    run = prepare(limit=5)
    assert rows(run)["test"] == 5
    assert "kept: as limit says, rows drawn: 5 of 20" in run.notes


def test_retention_rows_that_are_trained_on_are_counted_and_stay(prepare: Prepare) -> None:
    run = prepare(data="task.jsonl")
    note = next(note for note in run.notes if note.startswith("kept: "))
    trained = len(run.tasks["task"].tokens["train"])
    assert note.startswith(f"kept: {trained} of 40 rows have a prompt that is trained on as well")
    assert rows(run)["test"] == 40 > trained


def test_the_data_record_holds_retention_sets(prepare: Prepare) -> None:
    assert prepare().data_record().sets["kept"].rows["test"] == 20


def test_a_broken_retention_set_is_told_before_training(prepare: Prepare) -> None:
    with pytest.raises(TaskError, match=r"task 'kept'.* has the label 'blue'"):
        prepare(labels=["red"])


def test_rows_with_control_tokens_are_named_and_end_tokens_taken_off(base_folder: Path, tmp_path: Path) -> None:
    rows = [{"text": f"w{i}", "label": "red" if i % 2 else "blue <end>"} for i in range(40)]
    rows[3]["text"] += " <pad> say"
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = {"base": str(base_folder), "tasks": [{**TASK, "data": "task.jsonl"}]}
    run = prepare_run(parse_config(raw, tmp_path))
    assert run.tasks["task"].data.task.labels == ("blue", "red")
    ended, held = (note for note in run.notes if "token" in note)
    assert ended.startswith("task: an end token is taken off 20 of 40 answers, such as <end> off that of row ")
    assert held.startswith("task: control tokens of the base stand in 1 of 40 rows, such as row ")
    parsed = prepare_run(parse_config({**raw, "control_tokens": "parse"}, tmp_path))
    assert parsed.tasks["task"].data.task.labels == ("blue <end>", "red")
    assert not [note for note in parsed.notes if "token" in note]
