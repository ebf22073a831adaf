"""Laws of rendered rows: the examples, ids and digests of the rows themselves, from a table that is made once."""

import datetime
import gzip
import json
import sqlite3
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from multitune.config.schema import TaskConfig
from multitune.core.errors import DataError, TaskError
from multitune.core.records import Example
from multitune.data import examples as examples_module
from multitune.data.examples import Examples, render
from multitune.data.sources import load_rows
from multitune.data.taskdata import prepare_task
from multitune.data.tokenizer import ChatFormat
from multitune.data.tokens import encode
from multitune.tasks.task import Task

WORDS = ["rise", "fall", "stay"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "examples"


def some_rows(count: int) -> list[dict[str, Any]]:
    return [{"text": f"w{i % 700} \u2028 w{i}", "label": WORDS[i % 3]} for i in range(count)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def config(source: Any, **fields: object) -> TaskConfig:
    shape = {"kind": "classify", "prompt": "say {{ text }}", "answer": "{{ label }}"}
    return TaskConfig.model_validate({"name": "words", "data": source, **shape, **fields})


def rendered(source: Any, **fields: object) -> tuple[Examples, str]:
    task = Task(config(source, **fields))
    return render(task, load_rows(task.config.data, "task 'words'")["train"])


def of_file(path: Path, **fields: object) -> Examples:
    return rendered({"train": str(path)}, **fields)[0]


def test_examples_are_those_of_the_rows(tmp_path):
    rows = [*some_rows(2500), *some_rows(3)]  # the last three are repeated
    path = write(tmp_path / "rows.jsonl", rows)
    expected = Task(config({"train": str(path)})).examples(rows)
    for _ in range(2):  # as they are made, and as they are found
        found = of_file(path)
        assert list(found) == expected and [found[i] for i in (0, -1, 7)] == [expected[i] for i in (0, -1, 7)]
        assert found[5:2000:400] == expected[5:2000:400]
        assert found[-1].id == f"{found[2].id}-2"
        with pytest.raises(IndexError):
            found[len(rows)]


@pytest.mark.parametrize(
    ("kind", "answer", "gold"),
    [("number", "12.5%", 0.125), ("tag", "A B, ORG\nC, PER", (("A B", "ORG"), ("C", "PER"))), ("tag", "none", ())],
)
def test_gold_is_what_the_task_makes_of_the_answer(tmp_path, kind, answer, gold):
    path = write(tmp_path / "rows.jsonl", [{"text": "x", "label": answer}])
    assert [of_file(path, kind=kind)[0].gold for _ in range(2)] == [gold, gold]


MIXED = [
    {"value": 1, "label": "a"},
    {"value": "1.50", "label": "b"},
    {"value": 1.0, "label": "c"},
    {"value": None, "label": "d"},
    {"label": "e"},
    {"value": [1, "two", {"three": 3}], "label": "f"},
    {"value": {"a": 1}, "label": "g"},
    {"value": {"b": [None]}, "label": "h"},
    {"value": 10**30, "label": "i"},
    {"value": True, "label": "j"},
    {"value": float("nan"), "label": "k"},
]


def test_a_template_sees_each_value_as_it_stands_in_its_row(tmp_path):
    path = write(tmp_path / "rows.jsonl", MIXED)
    found = of_file(path, prompt="{{ value | default('absent') | tojson }} {{ row | length }}")
    texts = ["1 2", '"1.50" 2', "1.0 2", "null 2", '"absent" 1', '[1, "two", {"three": 3}] 2', '{"a": 1} 2']
    assert [example.prompt for example in found] == [*texts, '{"b": [null]} 2', f"{10**30} 2", "true 2", "NaN 2"]


def test_a_template_sees_the_types_of_parquet_columns_and_of_each_files_own(tmp_path):
    moment = datetime.datetime(2026, 11, 25, 9, 30, tzinfo=datetime.UTC)
    rows = [{"at": moment, "price": Decimal("1.50"), "of": {"id": None}, "label": "a"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"price": 2, "label": "b"}]), tmp_path / "b.parquet")
    prompt = "{{ at.year if at is defined }} {{ price }} {{ (of or {}).keys() | join(', ') if of is defined }}"
    found = rendered({"train": str(tmp_path / "*.parquet")}, prompt=prompt)[0]
    assert [example.prompt for example in found] == ["2026 1.50 id", "2"]


def test_the_digest_is_that_of_the_rows_and_not_of_their_file(tmp_path):
    path = write(tmp_path / "rows.jsonl", some_rows(20))
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(some_rows(20)), tmp_path / "rows.parquet")
    paths = [path, packed, tmp_path / "rows.parquet", path]
    assert len({rendered({"train": str(path)})[1] for path in paths}) == 1
    assert rendered({"train": str(write(path, some_rows(21)))})[1] != rendered({"train": str(packed)})[1]


def test_rows_are_rendered_once_for_each_file_and_template(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "rows.jsonl", some_rows(20))
    first = list(of_file(path))

    def fail(*_: object, **_named: object) -> None:
        raise AssertionError("rendered again")

    with monkeypatch.context() as patch:
        patch.setattr(Task, "render", fail)
        assert list(of_file(path)) == first
        with pytest.raises(AssertionError, match="rendered again"):
            of_file(path, prompt="tell {{ text }}")
    assert of_file(path, prompt="tell {{ text }}")[0].prompt.startswith("tell")
    of_file(write(path, some_rows(21)))
    assert len(list(cache.glob("*.arrow"))) == 3


def test_rows_of_a_database_are_read_each_time_and_not_kept(tmp_path, cache):
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        connection.execute("create table rows (text, label)")
        connection.execute("insert into rows values ('up', 'rise')")
    source = {"sql": f"sqlite:///{tmp_path}/rows.db", "train": "select * from rows"}
    first = rendered(source)[0]
    connection.execute("insert into rows values ('down', 'fall')")
    connection.commit()
    connection.close()
    again = rendered(source)[0]
    assert ([e.gold for e in first], [e.gold for e in again]) == (["rise"], ["rise", "fall"])
    assert first.digest != again.digest and not cache.exists()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.jsonl", some_rows(20))
    kept = of_file(path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "file"))
    held = of_file(path)
    assert list(held) == list(kept) and held.digest == kept.digest


def test_a_fault_leaves_nothing_in_the_cache(tmp_path, cache):
    path = write(tmp_path / "rows.jsonl", [*some_rows(2000), {"text": "w1", "label": ""}])
    with pytest.raises(TaskError, match=r"row 2001 gives an empty answer.*\(in .*rows\.jsonl\)"):
        of_file(path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"text": ')
    with pytest.raises(DataError, match=r"rows\.jsonl line 2002 is not valid JSON"):
        of_file(path)
    assert not list(cache.iterdir())


def test_a_column_that_no_row_has_is_told_even_where_a_row_fails_first(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"text": "x", "labels": "a"}, {"text": "y"}])
    with pytest.raises(TaskError, match=r"the rows have no column 'label'.*Did you mean 'labels'"):
        of_file(path)


def test_another_choice_of_rows_has_another_digest(tmp_path):
    found = of_file(write(tmp_path / "rows.jsonl", some_rows(20)))
    few = found.select(np.array([1, 3, 7]))
    other, fewer = found.select(np.array([1, 3, 8])), few.select(np.array([0, 2]))
    assert len({one.digest for one in (found, few, other, fewer)}) == 4
    assert few.digest == found.select(np.array([1, 3, 7])).digest
    assert list(few) == [found[i] for i in (1, 3, 7)] and list(fewer) == [few[0], few[-1]] == [found[1], found[7]]
    assert list(few.texts("answer")) == [example.answer for example in few]


def test_runs_of_examples_are_short_enough_to_tokenise_at_once():
    short, long = Example("t", "", "word", "a", "a"), Example("t", "", "w" * 900_000, "a", "a")
    assert [len(batch) for batch in examples_module.batches([short] * 2500 + [long] * 4)] == [1000, 1000, 503, 1]


def test_tokens_of_rows_on_disk_are_those_of_rows_in_memory(tmp_path, chat: ChatFormat):
    examples = prepare_task(config({"train": str(write(tmp_path / "rows.jsonl", some_rows(300)))}), 17).examples[
        "train"
    ]
    held = encode(list(examples), chat, 60)
    made, found = (encode(examples, chat, 60, tmp_path / "tokens") for _ in range(2))
    assert made.digest == found.digest == held.digest
    assert len(list((tmp_path / "tokens").glob("*.arrow"))) == 1


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_memory_grows_by_a_few_bytes_a_row(tmp_path, chat: ChatFormat, form):
    def held(rows: int) -> int:
        path = write(tmp_path / f"{rows}.jsonl", some_rows(rows))
        if form == "parquet":
            path = path.with_suffix(".parquet")
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(some_rows(rows)), path, row_group_size=70)
        tracemalloc.start()
        kept = encode(prepare_task(config({"train": str(path)}), 17).examples["train"], chat, 60, tmp_path / "tokens")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak if len(kept) else 0

    held(1_000)  # what is loaded once
    assert (held(12_000) - held(4_000)) / 8_000 < 150  # a row as an Example takes about a thousand
