import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from multitune.config.source import SourceConfig
from multitune.core.errors import DataError, DataNotFoundError, MissingExtraError
from multitune.core.records import Split
from multitune.data import sources
from multitune.data.formats import Row
from multitune.data.sources import Table, load_rows

PLACE = "task 'tweets'"


def write(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def texts(tables: dict[Split, Table]) -> dict[str, list[str]]:
    return {split: [row["text"] for row in table] for split, table in tables.items()}


def load(**source: object) -> dict[Split, Table]:
    return load_rows(SourceConfig(**{key: str(value) for key, value in source.items()}), PLACE)  # type: ignore


def rows(**source: object) -> dict[Split, list[Row]]:
    return {split: list(table) for split, table in load(**source).items()}


def test_files_are_read_as_the_splits_that_name_them(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.jsonl", "a"), write(tmp_path / "b.jsonl.gz", "b")
    assert texts(load(train=train, test=test)) == {"train": ["a"], "test": ["b"]}


def test_a_glob_reads_its_files_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", "b")
    write(tmp_path / "a.jsonl.gz", "a")
    assert texts(load(train=tmp_path / "*.jsonl*")) == {"train": ["a", "b"]}


def test_a_folder_without_split_names_is_train(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", "b")
    write(tmp_path / "a.jsonl", "a")
    (tmp_path / "README.md").write_text("about")
    assert texts(load(train=tmp_path)) == {"train": ["a", "b"]}


@pytest.mark.parametrize(
    "name", ["validation.jsonl", "valid.jsonl", "dev.jsonl", "val-00000-of-1.jsonl", "sst-dev.jsonl"]
)
def test_a_folder_with_split_names_holds_those_splits(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train.jsonl", "a")
    write(tmp_path / name, "b")
    write(tmp_path / "test.jsonl", "c")
    write(tmp_path / "trainings.jsonl", "of no split")
    assert texts(load(train=tmp_path)) == {"train": ["a"], "validation": ["b"], "test": ["c"]}


def test_a_split_with_a_path_of_its_own_is_not_read_from_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "in" / "train.jsonl", "a")
    write(tmp_path / "in" / "test.jsonl", "b")
    own = write(tmp_path / "own.jsonl", "c")
    assert texts(load(train=tmp_path / "in", test=own)) == {"train": ["a"], "test": ["c"]}


def test_a_folder_with_a_test_file_but_no_train_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", "a")
    with pytest.raises(DataError, match="holds no file named train"):
        load(train=tmp_path)


def test_the_key_follows_the_content_and_not_the_file(tmp_path: Path) -> None:
    a, b, c = (write(tmp_path / name / "rows.jsonl", text) for name, text in (("a", "x"), ("b", "x"), ("c", "y")))
    keys = [load(train=path)["train"].key for path in (a, b, c)]
    assert keys[0] == keys[1] != keys[2]
    write(a, "z")
    assert load(train=a)["train"].key not in keys


def test_rows_are_read_each_time_that_they_are_asked_for(tmp_path: Path) -> None:
    table = load(train=write(tmp_path / "a.jsonl", "a"))["train"]
    assert list(table) == list(table) == [{"text": "a"}]
    write(tmp_path / "a.jsonl", "b")
    assert list(table) == [{"text": "b"}]


def test_a_hub_set_keeps_its_key_as_long_as_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(sources, "require_hub_id", lambda hub, place: None)  # a folder stands in for the hub
    write(tmp_path / "set" / "train.jsonl", *(f"w{i}" for i in range(2500)))
    first, again = (load(hub=tmp_path / "set")["train"] for _ in range(2))
    part = load(hub=tmp_path / "set", train="train[:10]")["train"]
    assert [row["text"] for row in first] == [f"w{i}" for i in range(2500)] and len(list(part)) == 10
    assert first.key == again.key != part.key


@pytest.mark.parametrize("hub", ["json", "csv", "/etc", "../rows", "~/rows", "a/b/c", "hf://datasets/a/b", "here/set"])
def test_what_would_be_read_from_this_machine_is_no_hub_id(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "set").mkdir(parents=True)
    with pytest.raises(DataError, match="no hub id such as owner/name"):
        load(hub=hub)


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "tweets.jsonl", "a")
    with pytest.raises(DataNotFoundError, match=r"task 'tweets': no file or folder .*Did you mean 'tweets.jsonl'"):
        load(train=tmp_path / "tweet.jsonl")


@pytest.mark.parametrize(("where", "says"), [("*.csv", "no file matches"), ("empty", "holds no data file")])
def test_a_pattern_or_folder_without_files_is_refused(tmp_path: Path, where: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFoundError, match=says):
        load(train=tmp_path / where)


def test_a_source_without_train_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.train is missing"):
        load(test=write(tmp_path / "a.jsonl", "a"))


def test_an_unreachable_hub_set_is_answered_with_a_remedy() -> None:
    with pytest.raises(DataError, match=r"(?s)task 'tweets': .*multitune-tests/nowhere"):
        load(hub="multitune-tests/nowhere")


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table tweets (text, label, fold)")
        connection.executemany("insert into tweets values (?, ?, ?)", [("at 12:30 up 5%", 1, 0), ("down", 0, 1)])
    connection.close()
    return f"sqlite:///{path}"


def test_queries_give_splits(database: str) -> None:
    found = rows(sql=database, train="select text, label from tweets where fold = 0", test="select text from tweets")
    assert found["train"] == [{"text": "at 12:30 up 5%", "label": 1}]
    assert len(found["test"]) == 2


def test_rows_of_a_database_have_no_key_as_they_may_change_without_a_trace(database: str) -> None:
    assert load(sql=database, train="select text from tweets")["train"].key is None


def test_colons_and_per_cent_signs_of_a_query_are_its_own(database: str) -> None:
    tables = load(sql=database, train="select text from tweets where text like '%12:30%'")
    assert texts(tables) == {"train": ["at 12:30 up 5%"]}


def test_a_query_changes_nothing(database: str) -> None:
    with pytest.raises(DataError, match="is no SELECT"):
        rows(sql=database, train="delete from tweets")
    assert len(rows(sql=database, train="select text from tweets")["train"]) == 2


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("select text from tweet", r"data.train: the query failed \(no such table: tweet\)"),
        ("select text from tweets where 1 = 0", "holds no rows"),
    ],
)
def test_a_query_without_rows_is_refused(database: str, query: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        rows(sql=database, train=query)


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no database"):
        load(sql=f"sqlite:///{tmp_path}/gone.db", train="select 1")
    assert not (tmp_path / "gone.db").exists()


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(MissingExtraError, match="pip install pymssql"):
        load(sql="mssql+pymssql://me:secret@host/db", train="select 1")


@pytest.mark.parametrize("url", ["me:secret@host", "nodialect://me:secret@host/db"])
def test_a_wrong_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DataError, match="no database address") as caught:
        load(sql=url, train="select 1")
    assert "secret" not in str(caught.value)
