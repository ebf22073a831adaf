"""Files as Excel, pandas, datasets, European offices and phones write them: each loads as its owner expects."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest

from multitune.config.source import SourceConfig
from multitune.config.task import TaskConfig
from multitune.core.errors import DataError, TaskError
from multitune.data.formats import read_rows
from multitune.data.sources import load_rows
from multitune.data.taskdata import TaskData, prepare_task
from multitune.tasks.conversation import read_messages
from multitune.tasks.output_parsing import read_number

TABLE = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
TEXTS = [f"message number {i} about things" for i in range(40)]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("excel, empty rows above.csv", ";;\r\n\r\ntext;label;\r\na;x;\r\nb;y;\r\n", TABLE),
        ("excel, sep and mark.csv", "\ufeffsep=;\r\n\r\ntext;label\r\na;x\r\nb;y\r\n", TABLE),
        ("excel, rows that were cleared.csv", "text;label\r\na;x\r\n;\r\nb;y\r\n;\r\n;\r\n", TABLE),
        ("excel, line breaks in cells.csv", 'text,label\r\n"a\r\nb",x\r\n', [{"text": "a\r\nb", "label": "x"}]),
        ("excel for mac.csv", "text,label\ra,x\rb,y\r", TABLE),
        ("pandas, shuffled.csv", ",text,label\n7,a,x\n0,b,y\n", TABLE),
        ("pandas, a list in a cell.csv", "text,tags\na,\"['x', 'y']\"\nb,[]\n", [
            {"text": "a", "tags": ["x", "y"]}, {"text": "b", "tags": []}
        ]),
        ("pandas, a list in some cells.csv", "text,tags\na,\"['x', 'y']\"\nb,\n", [
            {"text": "a", "tags": ["x", "y"]}, {"text": "b", "tags": ""}
        ]),
        ("brackets that are text.csv", "text,label\n[a],x\n[b,y\n", [
            {"text": "[a]", "label": "x"}, {"text": "[b", "label": "y"}
        ]),
        ("two exports in one.csv", "text,label\na,x\ntext,label\nb,y\n", TABLE),
        ("two exports in one.jsonl", '\ufeff{"text": "a", "label": "x"}\n\ufeff{"text": "b", "label": "y"}\n', TABLE),
        ("one column.csv", "text\nhello, world\nsecond; line\nthird\n", [
            {"text": "hello, world"}, {"text": "second; line"}, {"text": "third"}
        ]),
        ("one column, quoted.csv", 'text\n"say ""hi"", twice"\n', [{"text": 'say "hi", twice'}]),
        ("mac, decomposed header.csv", "Gro\u0308ße,label\na,x\n", [{"Größe": "a", "label": "x"}]),
        ("mac, decomposed keys.jsonl", '{"Gro\u0308ße": "a"}\n', [{"Größe": "a"}]),
        ("web form, invisible marks in the header.csv", "\u200btext,label\u00a0\na,x\nb,y\n", TABLE),
        ("office, commas in numbers.csv", "text;score\r\ngut;0,5\r\nschlecht;-1,25\r\n", [
            {"text": "gut", "score": "0,5"}, {"text": "schlecht", "score": "-1,25"}
        ]),
        ("phone, curly quotes.csv", "text,label\n“a”,x\n’b‘,y\n", [
            {"text": "“a”", "label": "x"}, {"text": "’b‘", "label": "y"}
        ]),
        ("phone, emoji of several characters.csv", "text,label\n👩‍👩‍👧 ok,x\n", [{"text": "👩‍👩‍👧 ok", "label": "x"}]),
        ("lists without blanks.csv", "text,tags\na,\"['x','y']\"\n", [{"text": "a", "tags": ["x", "y"]}]),
        ("names like other formats.csv", "par1,version\na,x\n", [{"par1": "a", "version": "x"}]),
        ("one column, its name as text.csv", "text\nsay\ntext\n", [{"text": "say"}, {"text": "text"}]),
        ("names that look alike.jsonl", '{"\u00f6": 1, "o\u0308": 2}\n', [{"\u00f6": 1, "o\u0308": 2}]),
        ("leading zeros.csv", "zip,label\n01234,x\n80331,y\n", [
            {"zip": "01234", "label": "x"}, {"zip": "80331", "label": "y"}
        ]),
    ],
)  # fmt: skip
def test_a_file_loads_as_its_owner_expects(tmp_path: Path, name: str, content: str, rows: list[Any]) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert list(read_rows(tmp_path / name, "task")) == rows


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("sheet.ods", b"PK\x03\x04", "OpenDocument or Numbers workbook. Save it as .xlsx"),
        ("renamed sheet.csv", b"PK\x03\x04\x14\x00\n", "is a zip archive or a workbook of Excel"),
        ("old sheet.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\n", "is an old workbook of Excel"),
        ("unicode text of excel.csv", "text\tlabel\na\tx\n".encode("utf-16"), "is UTF-16 text. Save it again"),
        ("western.csv", "text;label\ngrün;gut\n".encode("cp1252"), "byte 13 is 0xfc (line 2). Save it again as UTF-8"),
        ("title.csv", b"Tickets of March\ntext,label\na,x\n", "line 2 has 2 fields, the header has 1"),
        ("rows.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("rows.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("login.jsonl", b"<!DOCTYPE html>\n<html></html>\n", "is a web page"),
        ("login.csv", b"<html lang='en'>\n", "is a web page"),
        ("packed.jsonl", b"\x1f\x8b\x08\x00\n", "is packed with gzip. Put .gz behind its name"),
        ("packed.zip", b"PK\x03\x04", "is packed. Unpack it"),
        ("renamed.csv", b"PAR1\x15\x04\n", "is a Parquet file. Name it .parquet"),
        ("chat.txt", b"[12.03.24, 10:15] Anna: hi\n", "is of no format with columns. Write it as JSON lines or CSV"),
        ("values.json", b'[["a", "x"], ["b", "y"]]', "item 1 is list, not an object with named columns"),
    ],
)
def test_a_file_that_holds_no_rows_is_told_for_what_it_looks_like(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / name, "task"))
    assert says in str(caught.value)


def prepared(file: Path, **fields: Any) -> TaskData:
    """A task of a file that names its data alone, or states the given fields."""
    split = {"validation": 0.2, "test": 0}
    return prepare_task(TaskConfig(name="a", data=SourceConfig(train=str(file)), split=split, **fields), 17)  # type: ignore


def answers(data: TaskData) -> set[str]:
    return {row.answer for split in data.examples.values() for row in split}


@pytest.mark.parametrize(
    ("columns", "kind", "expected"),
    [
        ({"text": TEXTS, "tags": [["a", "b"], ["a"]] * 20}, "labels", {"a", "a\nb"}),
        ({"tokens": [["Anna", t] for t in TEXTS], "ner_tags": [["B-PER", "O"]] * 40}, "tag", {"Anna, PER"}),
        ({"question": TEXTS, "choices": [["yes", "no"]] * 40, "answer": [0, 1] * 20}, "choice", {"yes", "no"}),
        (
            {"messages": [[{"role": "user", "content": t}, {"role": "assistant", "content": "it's"}] for t in TEXTS]},
            "generate",
            {"it's"},
        ),
    ],
)
def test_lists_that_pandas_wrote_into_a_csv_are_lists(
    tmp_path: Path, columns: dict[str, Any], kind: str, expected: set[str]
) -> None:
    pandas.DataFrame(columns).to_csv(tmp_path / "a.csv", index=False)
    data = prepared(tmp_path / "a.csv")
    assert (data.task.kind, answers(data)) == (kind, expected)


def test_lists_as_numpy_prints_them_are_told(tmp_path: Path) -> None:
    tags = [np.array(["a", "b"]), np.array(["a"])] * 20
    pandas.DataFrame({"text": TEXTS, "tags": tags}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(TaskError, match="is no list as JSON or Python writes it, with commas"):
        prepared(tmp_path / "a.csv", kind="labels", prompt="{{ text }}", answer="{{ tags | labels }}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_score_of_single_precision_reads_as_it_was_given(tmp_path: Path, dtype: str) -> None:
    scores = np.array([0.1, 3.8, 4.75, 2.2] * 10).astype(dtype)
    pandas.DataFrame({"text": TEXTS, "score": scores}).to_parquet(tmp_path / "a.parquet")
    assert answers(prepared(tmp_path / "a.parquet")) == {"0.1", "3.8", "4.75", "2.2"}


def test_any_number_of_single_precision_is_read(tmp_path: Path) -> None:
    scores = np.array([1e10, 1e-10, np.inf, -0.0, 16777216], dtype="float32")
    pandas.DataFrame({"score": scores}).to_parquet(tmp_path / "a.parquet")
    assert [row["score"] for row in read_rows(tmp_path / "a.parquet", "task")] == [1e10, 1e-10, np.inf, 0.0, 16777216]


@pytest.mark.parametrize("written", [json.dumps, str])
def test_a_chat_in_a_cell_may_quote_words(written: Any) -> None:
    turns = [{"role": "user", "content": "join 'a' 'b'"}, {"role": "assistant", "content": 'it\'s "ab" "c"'}]
    assert read_messages(written(turns)) == turns


def test_a_missing_score_stays_missing_in_single_precision(tmp_path: Path) -> None:
    scores = pandas.Series([0.1, None] * 20, dtype="Float32")
    pandas.DataFrame({"text": TEXTS, "score": scores}).to_parquet(tmp_path / "a.parquet")
    assert [row["score"] for row in read_rows(tmp_path / "a.parquet", "task")][:2] == [0.1, None]


def test_a_column_of_pandas_categories_is_text(tmp_path: Path) -> None:
    labels = pandas.Categorical(["spam", "ham"] * 20)
    pandas.DataFrame({"text": TEXTS, "label": labels}).to_parquet(tmp_path / "a.parquet")
    assert answers(prepared(tmp_path / "a.parquet")) == {"spam", "ham"}


@pytest.mark.parametrize("name", ["index.csv", "index read again.csv", "index.parquet", "table.json"])
def test_no_index_of_pandas_becomes_part_of_a_prompt(tmp_path: Path, name: str) -> None:
    frame = pandas.DataFrame({"text": TEXTS, "label": ["spam", "ham"] * 20}).sample(frac=1, random_state=3)
    file = tmp_path / name
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix == ".json":
        frame.to_json(file, orient="table")
    else:
        frame.to_csv(file)
        if "again" in name:
            pandas.read_csv(file).to_csv(file, index=False)
    data = prepared(file)
    assert {row.prompt.rpartition("\n\n")[2] for split in data.examples.values() for row in split} == set(TEXTS)


@pytest.mark.parametrize("kind", [datasets.Dataset, datasets.DatasetDict])
def test_a_folder_of_save_to_disk_is_told(tmp_path: Path, kind: Any) -> None:
    rows = datasets.Dataset.from_list(TABLE)
    saved = rows if kind is datasets.Dataset else datasets.DatasetDict({"train": rows, "test": rows})
    saved.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match="was written by `save_to_disk` of datasets"):
        load_rows(SourceConfig(train=str(tmp_path / "saved")), "task")


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_what_datasets_exports_loads_as_it_was(tmp_path: Path, form: str) -> None:
    rows = datasets.Dataset.from_list(TABLE)
    file = tmp_path / f"train.{form}"
    getattr(rows, f"to_{form}")(str(file))
    assert list(load_rows(SourceConfig(train=str(tmp_path)), "task")["train"]) == TABLE


def test_files_that_a_mac_or_windows_leaves_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    for name in ("._train.jsonl", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert list(load_rows(SourceConfig(train=str(tmp_path)), "task")["train"]) == TABLE


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("½", 0.5),
        ("2½", 2.5),
        ("2 ½", 2.5),
        ("¾ cup", 0.75),
        ("1_000", 1000),
        ("1_234_567.5", 1234567.5),
        ("5.-", 5),  # a price in Switzerland
        ("(1,234.50)", -1234.5),  # an accountant's minus
        ("1\u00a0234,50\u00a0€", 1234.5),
        ("−5", -5),
        ("٣٫٥", 3.5),
        ("１２３", 123),
    ],
)
def test_a_number_is_read_as_another_program_wrote_it(text: str, number: float) -> None:
    assert read_number(text) == number


def test_scores_with_decimal_commas_are_scores(tmp_path: Path) -> None:
    lines = [f"{text};{i % 5},5" for i, text in enumerate(TEXTS)]
    (tmp_path / "a.csv").write_text("\r\n".join(["text;score", *lines, ""]), "utf-8-sig")
    data = prepared(tmp_path / "a.csv", kind="regress", prompt="{{ text }}", answer="{{ score }}")
    assert {row.gold for row in data.examples["train"]} == {0.5, 1.5, 2.5, 3.5, 4.5}


@pytest.mark.parametrize(("first", "second"), [("a\u00a0b", "a b"), ("caf\u00e9", "cafe\u0301"), ("A  b ", "a b")])
def test_rows_that_look_alike_are_on_one_side_of_a_split(tmp_path: Path, first: str, second: str) -> None:
    rows = [{"text": text, "label": "x"} for text in (first, *TEXTS)]
    for split, content in (("train", rows), ("test", [{"text": second, "label": "x"}])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    data = prepared(tmp_path, kind="classify", prompt="{{ text }}", answer="{{ label }}")
    assert "train: 1 of 41 rows left out, as their prompt stands in validation or test as well" in data.notes
