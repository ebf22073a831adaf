import gzip
import json
from pathlib import Path

import pytest

from multitune.core.errors import DataError
from multitune.data.formats import read_rows

ROWS = [{"text": "naïve 東京", "label": 1}, {"text": "line\nbreak, comma", "label": 0}]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_parquet(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


def fault(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_rows(path, "task 'tweets'"))
    assert str(caught.value).startswith(f"task 'tweets': {path}")
    return str(caught.value)


CSV = 'text,label\nnaïve 東京,1\n"line\nbreak, comma",0\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines(ROWS)),
        ("a.NDJSON", lines(ROWS).replace("\n{", "\r\n\r\n{")),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("lines.json", lines(ROWS)),
        ("a.csv", CSV),
        ("windows.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("a.tsv", CSV.replace("text,label", "text\tlabel").replace(",1", "\t1").replace(",0", "\t0")),
        ("a.jsonl.gz", gzip.compress(lines(ROWS).encode(), mtime=0)),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("bom.jsonl", b"\xef\xbb\xbf" + lines(ROWS).encode()),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert list(read_rows(written(tmp_path / name, content), "task")) == ROWS


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    assert list(read_rows(as_parquet(tmp_path / "a.parquet"), "task")) == ROWS


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "one\u2028two\x85three"}]
    assert list(read_rows(written(tmp_path / "a.jsonl", lines(rows)), "task")) == rows


def test_only_whole_numbers_of_a_csv_lose_their_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "n,zip,price,gap,word\n-7,007,1.50,1,NA\n12,100,2,,true\n")
    assert next(read_rows(path, "task")) == {"n": -7, "zip": "007", "price": "1.50", "gap": "1", "word": "NA"}


def test_a_csv_field_may_be_a_megabyte_long(tmp_path: Path) -> None:
    assert len(next(read_rows(written(tmp_path / "a.csv", "text\n" + "a" * 1_000_000), "task"))["text"]) == 1_000_000


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"a": 1}\n\n{"a": ', "line 3 is not valid JSON (Expecting value at column 7)"),
        ("a.jsonl", '{"a": 1}\n[1, 2]\n', "line 2 is list, not an object"),
        ("a.jsonl", "[" * 100_000, "line 1 cannot be read as JSON"),
        ("a.jsonl", '{"a": "\\ud83d"}', "line 1 holds half a character"),
        ("a.jsonl", '{"a": "\\ud83d"}\n{"a": "b"}\n', "line 1 holds half a character"),
        ("a.json", '[{"a": "\\ud83d"}]', "holds half a character"),
        ("a.jsonl", b'{"a": 1}\n\x00\x01', "byte 9 is NUL"),
        ("a.jsonl", "{}".encode("utf-16"), "is UTF-16"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xe9"}', "byte 16 is 0xe9 (line 2)"),
        ("a.jsonl", b"\xef\xbb\xbf\xe9", "byte 3 is 0xe9 (line 1)"),
        ("a.jsonl", "", "holds no rows"),
        ("a.csv", "text,label\n", "holds no rows"),
        ("a.csv", "text,text\na,b\n", "line 1 must name every column once"),
        ("a.csv", "text,label\nfine,1\none, two,1\n", "line 3 has 3 fields, the header has 2"),
        ("a.csv", 'text\n"never closed\n', "Correct its quotes"),
        ("a.json", '[{"a": 1}, 2]', "item 2 is int"),
        ("a.json", '[{"a": 1},\n {"a" 2}]', "line 2 column 7"),
        ("a.parquet", b"PAR1 but not quite", "is not a whole Parquet file"),
        ("a.jsonl.gz", gzip.compress(lines(ROWS).encode(), mtime=0)[:-9], "is not a whole gzip file"),
        ("a.jsonl.gz", lines(ROWS), "is not a whole gzip file"),
        ("a.rows", "text", "no known suffix. Known: .jsonl, .ndjson, .json, .csv, .tsv, .parquet"),
        ("a.gz", "text", "no known suffix"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    assert says in fault(written(tmp_path / name, content))


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = as_parquet(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:200])
    assert "is not a whole Parquet file" in fault(path)


TABLE = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("one line.jsonl", json.dumps(TABLE)),
        ("list.jsonl", json.dumps(TABLE, indent=1)),
        ("around.json", json.dumps({"version": 1, "data": TABLE})),
        ("pretty around.json", json.dumps({"rows": TABLE, "licence": {"name": "MIT"}}, indent=2)),
        ("pretty rows.jsonl", "\n".join(json.dumps(row, indent=2) for row in TABLE)),
        ("commas.jsonl", "".join(json.dumps(row) + ",\n" for row in TABLE)),
        ("pandas columns.json", json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}})),
        ("pandas index.json", json.dumps({"0": TABLE[0], "1": TABLE[1]})),
        (
            "pandas split.json",
            json.dumps({"columns": ["text", "label"], "index": [0, 1], "data": [["a", "x"], ["b", "y"]]}),
        ),
        (
            "pandas table.json",
            json.dumps({"schema": {"fields": [{"name": "text"}, {"name": "label"}]}, "data": TABLE}),
        ),
        ("columns.json", json.dumps({"text": ["a", "b"], "label": ["x", "y"]}, indent=2)),
        ("same twice.jsonl", '{"text": "a", "label": "x", "label": "x"}\n{"text": "b", "label": "y"}\n'),
        ("white.jsonl", '{"text": "a", "label": "x"}\n   \n\n{"text": "b", "label": "y"}\n \n'),
        ("semicolons.csv", "text;label\na;x\nb;y\n"),
        ("excel.csv", "sep=;\r\ntext;label\r\na;x\r\nb;y\r\n"),
        ("tabs.csv", "text\tlabel\na\tx\nb\ty\n"),
        ("commas.tsv", "text,label\na,x\nb,y\n"),
        ("blanks.csv", 'text, label\na, x\n"b", "y"\n'),
        ("index.csv", ",text,label\n0,a,x\n1,b,y\n"),
        ("trailing.csv", "text,label,\na,x,\nb,y,\n"),
        ("trailing rows.csv", "text,label\na,x,\nb,y,,\n"),
        ("empty lines.csv", "text,label\n\na,x\n   \nb,y\n,\n"),
    ],
)
def test_a_table_of_another_program_loads_as_its_owner_expects(tmp_path: Path, name: str, content: str) -> None:
    assert list(read_rows(written(tmp_path / name, content), "task")) == TABLE


def test_a_chat_that_is_one_line_is_one_row(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    for name in ("a.json", "a.jsonl"):
        assert list(read_rows(written(tmp_path / name, json.dumps(row)), "task")) == [row]


def test_a_line_of_json_lines_is_a_row_whatever_it_holds(tmp_path: Path) -> None:
    row = {"paragraphs": [{"text": "a"}, {"text": "b"}]}
    assert list(read_rows(written(tmp_path / "a.jsonl", json.dumps(row)), "task")) == [row]


QUOTED = 'text\tlabel\n"Good" he said\tx\nhe said "good"\ty\n"open\tx\n"whole"\ty\n'


def test_quotes_in_a_tsv_that_quotes_nothing_are_text(tmp_path: Path) -> None:
    found = [row["text"] for row in read_rows(written(tmp_path / "a.tsv", QUOTED), "task")]
    assert found == ['"Good" he said', 'he said "good"', '"open', '"whole"']


def test_quotes_in_a_tsv_that_quotes_are_none_of_the_text(tmp_path: Path) -> None:
    content = 'text\tlabel\n"say ""good"" twice"\tx\n"two\nlines"\ty\nb\tx\n'
    found = [row["text"] for row in read_rows(written(tmp_path / "a.tsv", content), "task")]
    assert found == ['say "good" twice', "two\nlines", "b"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"a": 1, "b": 2, "a": 3}', "line 1 holds the key 'a' twice, with different values"),
        ("a.jsonl", "{'a': 1}\n{'a': 2}\n", "line 1 is a dict as Python prints it, not JSON"),
        ("a.json", json.dumps({"train": TABLE, "test": TABLE}), "several lists of rows: train, test. Write each"),
        ("a.csv", "text,,label\na,stray,x\n", "column 2 has no name"),
        ("a.csv", ",text,label\nr1,a,x\nr7,b,y\n", "column 1 has no name"),
    ],
)
def test_a_shape_that_is_not_clear_is_told(tmp_path: Path, name: str, content: str, says: str) -> None:
    assert says in fault(written(tmp_path / name, content))
