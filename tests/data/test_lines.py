"""Laws of large files: the rows, splits, labels and tokens of a file that is held in memory, without holding it."""

import datetime
import json
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from multitune.config.schema import SourceConfig, TaskConfig
from multitune.core.errors import DataError, TaskError
from multitune.core.records import SPLITS
from multitune.data import lines, stored
from multitune.data.formats import read_file
from multitune.data.lines import JsonLines
from multitune.data.sources import load_rows
from multitune.data.stored import ArrowRows
from multitune.data.taskdata import Rendered, prepare_task
from multitune.data.tokenizer import ChatFormat
from multitune.data.tokens import encode

WORDS = ["rise", "fall", "stay"]


def write(path: Path, rows: int, first: int = 0) -> Path:
    lines = [{"text": f"w{i % 700} \u2028 w{i}", "label": WORDS[i % 3]} for i in range(first, first + rows)]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return path


def as_parquet(path: Path) -> Path:
    found = path.with_suffix(".parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(read_file(path, "")), found, row_group_size=70)
    return found


def task(path: Path, **fields: object) -> TaskConfig:
    shape = {"kind": "classify", "prompt": "say {{ text }}", "answer": "{{ label }}"}
    return TaskConfig.model_validate({"name": "words", "data": {"train": str(path)}, **shape, **fields})


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LARGE_BYTES", 0)


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_rows_are_those_of_the_file_read_whole(tmp_path, monkeypatch, block):
    monkeypatch.setattr(lines, "READ_BYTES", block)
    path = write(tmp_path / "rows.jsonl", 50)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n", 9) + b"\n\n" + b'{"text": "last"}')
    rows = JsonLines([path], "task 'words'")
    expected = read_file(path, "task 'words'")
    assert list(rows) == expected and [rows[i] for i in (50, 3, -1)] == [expected[i] for i in (50, 3, -1)]
    assert rows[2:40:7] == expected[2:40:7]


def test_several_files_are_one_sequence(tmp_path):
    paths = [write(tmp_path / f"{i}.jsonl", 20, first=20 * i) for i in range(3)]
    rows = JsonLines(paths, "task 'words'")
    assert len(rows) == 60 and [rows[i]["text"].split()[-1] for i in (0, 19, 20, 59)] == ["w0", "w19", "w20", "w59"]
    with pytest.raises(IndexError):
        rows[60]


@pytest.mark.parametrize(
    "bad, said", [(b"{1}", "not valid JSON"), (b"[1]", "not an object"), (b'{"a":"\xff"}', "UTF-8")]
)
def test_a_row_that_cannot_be_read_names_file_and_byte(tmp_path, bad, said):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "w1"}\n' + bad + b"\n")
    with pytest.raises(DataError, match=rf"rows.jsonl.*byte (15|21).*{said}|rows.jsonl.*{said}.*byte (15|21)"):
        list(JsonLines([path], "task 'words'"))


@pytest.mark.parametrize("fields", [{}, {"limit": {"train": 100, "validation": 9, "test": 20}}, {"group": "label"}])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_large_file_is_divided_and_labelled_like_a_small_one(tmp_path, monkeypatch, fields, name):
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "rows.jsonl", 900)
    if name == "rows.parquet":
        path = as_parquet(path)
    small = prepare_task(task(path, **fields), seed=17)
    monkeypatch.setattr(stored, "LARGE_BYTES", 0)
    large = prepare_task(task(path, **fields), seed=17)
    assert isinstance(large.examples["train"], Rendered)
    assert (large.digests, large.notes, large.task.labels) == (small.digests, small.notes, small.task.labels)
    for split in SPLITS:
        found = [(e.prompt, e.answer, e.gold, e.group) for e in large.examples[split]]
        assert found == [(e.prompt, e.answer, e.gold, e.group) for e in small.examples[split]]


def test_tokens_of_a_large_file_are_those_of_a_small_one_and_come_from_the_cache(tmp_path, chat: ChatFormat, large):
    path = write(tmp_path / "rows.jsonl", 300)
    examples = prepare_task(task(path), seed=17).examples["train"]
    held = encode(list(examples), chat, 60)
    made, found = (encode(examples, chat, 60, tmp_path / "cache") for _ in range(2))
    assert made.digest == found.digest == held.digest
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1


def test_rows_of_parquet_files_are_those_of_the_files_read_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    moment = datetime.datetime(2026, 11, 25, 9, 30, tzinfo=datetime.UTC)
    kept = [
        {"n": i, "share": i / 3, "tags": ["a"] * (i % 3), "of": {"id": None}, "at": moment, "day": moment.date()}
        for i in range(2500)
    ]
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, half in zip(paths, (kept[:1200], kept[1200:]), strict=True):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(half), path)
    rows = ArrowRows.of_parquet(paths, "task 'words'")
    expected = [row for path in paths for row in read_file(path, "task 'words'")]
    assert list(rows) == expected and rows[-1] == expected[-1] and rows[5:2000:400] == expected[5:2000:400]
    assert list(rows.at([7, 2400, 3])) == [expected[i] for i in (7, 2400, 3)]
    with pytest.raises(IndexError):
        rows[2500]


def test_parquet_files_are_large_by_what_they_hold_and_not_by_how_it_is_packed(tmp_path):
    rows = pyarrow.Table.from_pylist([{"text": f"{'many words ' * 90} {i}"} for i in range(2000)])
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(rows, path, compression="zstd", use_dictionary=False)
    assert stored.file_bytes([path]) < 200_000 and stored.parquet_bytes([path]) > 2000 * 990
    path.write_bytes(b"PAR1 and no more")
    assert stored.parquet_bytes([path]) == 0
    with pytest.raises(DataError, match="not a whole Parquet file"):
        load_rows(SourceConfig(train=str(path)), "task 'words'")


@pytest.mark.parametrize("content", [b"PAR1 and no more", None])
def test_parquet_files_that_do_not_make_one_table_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "cache"))
    paths = [as_parquet(write(tmp_path / "a.jsonl", 9)), tmp_path / "b.parquet"]
    other = pyarrow.Table.from_pylist([{"another": 1}])
    paths[1].write_bytes(content) if content else pyarrow.parquet.write_table(other, paths[1])
    with pytest.raises(DataError, match=r"task 'words': .*b\.parquet cannot be read as Parquet"):
        list(ArrowRows.of_parquet(paths, "task 'words'"))


def test_a_large_hub_set_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub-cache"))
    (tmp_path / "set").mkdir()
    path = write(tmp_path / "set" / "train.jsonl", 40)
    small = load_rows(SourceConfig(hub=str(path.parent)), "task 'words'")["train"]
    monkeypatch.setattr(stored, "LARGE_BYTES", 0)
    large = load_rows(SourceConfig(hub=str(path.parent)), "task 'words'")["train"]
    assert isinstance(large.rows, ArrowRows) and isinstance(small.rows, list)
    assert (list(large.rows), large.digest) == (small.rows, small.digest)


def test_another_prompt_makes_other_tokens(tmp_path, chat: ChatFormat, large):
    path = write(tmp_path / "rows.jsonl", 300)
    first, second = (
        encode(prepare_task(task(path, prompt=prompt), 17).examples["train"], chat, 60, tmp_path / "cache")
        for prompt in ("say {{ text }}", "tell {{ text }}")
    )
    assert first.digest != second.digest


def test_a_row_is_named_by_its_number(tmp_path, large):
    path = write(tmp_path / "rows.jsonl", 30)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"text": "w1", "label": ""}\n')
    with pytest.raises(TaskError, match=r"row 31 gives an empty answer.*rows\.jsonl"):
        prepare_task(task(path), seed=17)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_memory_grows_by_a_few_bytes_a_row(tmp_path, monkeypatch, chat: ChatFormat, large, form):
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "arrow"))

    def held(rows: int) -> int:
        path = write(tmp_path / f"{rows}.jsonl", rows)
        path = as_parquet(path) if form == "parquet" else path
        encode(prepare_task(task(path), 17).examples["train"], chat, 60, tmp_path / "warm-up")
        tracemalloc.start()
        kept = encode(prepare_task(task(path), 17).examples["train"], chat, 60, tmp_path / f"cache{rows}")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak if len(kept) else 0

    assert (held(12_000) - held(4_000)) / 8_000 < 150  # a row as an Example takes about a thousand
