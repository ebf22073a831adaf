"""What a run file can say of untidy files: their encoding, and columns that every row must fill."""

from pathlib import Path

import pytest

from multitune.config.load import parse_config
from multitune.config.source import SourceConfig
from multitune.config.task import TaskConfig
from multitune.core.errors import ConfigError, DataError, TaskError
from multitune.data.sources import load_rows
from multitune.data.taskdata import prepare_task

SPLIT = {"validation": 0.2, "test": 0}
TASK = {"name": "a", "kind": "classify", "prompt": "{{ text }}", "split": SPLIT}


def task(file: Path, answer: str, **source: object) -> TaskConfig:
    return TaskConfig.model_validate({**TASK, "answer": answer, "data": {"train": str(file), **source}})


def test_a_file_in_another_encoding_is_told_with_how_it_would_read(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("text;label\ngrün;gut\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"is not UTF-8.*'grün;gut' reads right.*encoding: windows-1252"):
        list(load_rows(SourceConfig(train=str(file)), "task")["train"])
    rows = load_rows(SourceConfig(train=str(file), encoding="windows-1252"), "task")["train"]
    assert list(rows) == [{"text": "grün", "label": "gut"}]


def test_one_file_in_two_encodings_is_two_sets(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("text;label\ngrün;gut\n".encode("cp1252"))
    sources = (SourceConfig(train=str(file), encoding=encoding) for encoding in ("windows-1252", "cp1250"))
    assert len({load_rows(source, "task")["train"].key for source in sources}) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "klingon", "base64"])
def test_an_encoding_whose_lines_end_elsewhere_is_refused(tmp_path: Path, encoding: str) -> None:
    data = {"train": "a.csv", "encoding": encoding}
    with pytest.raises(ConfigError, match=f"data.encoding.*{encoding}"):
        parse_config({"name": "r", "base": "b", "tasks": [{"name": "a", "data": data}]}, tmp_path)


@pytest.mark.parametrize(("column", "answer"), [("label", "{{ label }}"), ("Team (new)", '{{ row["Team (new)"] }}')])
def test_rows_without_a_required_column_are_left_out_and_counted(tmp_path: Path, column: str, answer: str) -> None:
    file = tmp_path / "a.csv"
    lines = [f"text {i},{'' if i % 10 == 0 else ' ' if i % 10 == 1 else 'ab'[i % 2]}" for i in range(50)]
    file.write_text("\n".join([f"text,{column}", *lines]), "utf-8")
    with pytest.raises(TaskError) as refused:
        prepare_task(task(file, answer), 17)
    assert str(refused.value).partition(" (in ")[0].endswith(f"leave out all such rows: data.required: [{column}]")
    data = prepare_task(task(file, answer, required=[column]), 17)
    assert f"train: 10 rows left out, as they have nothing in {column}" in data.notes
    assert sum(map(len, data.examples.values())) == 40


def test_rows_that_were_cached_with_the_incomplete_ones_are_not_read_again_without_them(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    lines = [f"text {i},{'ab'[i % 2]},{'' if i % 10 == 0 else 'x'}" for i in range(50)]
    file.write_text("\n".join(["text,label,team", *lines]), "utf-8")
    sizes = [
        sum(map(len, prepare_task(task(file, "{{ label }}", **fields), 17).examples.values()))
        for fields in ({}, {"required": ["team"]}, {})
    ]
    assert sizes == [50, 45, 50]


def test_a_required_column_that_no_row_fills_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\na,x\n", "utf-8")
    with pytest.raises(DataError, match=r"no row of .* fills data.required: lable. Check the names"):
        prepare_task(task(file, "{{ label }}", required=["lable"]), 17)
