"""A query can read and nothing else, and no password has to stand in a file."""

import sqlite3
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from multitune.config.load import dump_config, load_config, parse_config
from multitune.config.schema import RunConfig
from multitune.config.source import SourceConfig
from multitune.core.errors import DataError
from multitune.data.sources import load_rows
from multitune.data.sql import sql_readers


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table tweets (text)")
        connection.execute("insert into tweets values ('into; the')")
    connection.close()
    return path


def read(database: Path | str, query: str) -> list[dict[str, object]]:
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return list(load_rows(SourceConfig(sql=url, train=query), "task 'tweets'")["train"])


@pytest.mark.parametrize(
    "query",
    [
        "drop table tweets",
        "delete from tweets",
        "attach database '{folder}/made.db' as made",
        "vacuum into '{folder}/made.db'",
        "pragma writable_schema = 1",
        "select 1; drop table tweets",
        "with gone as (select 1) delete from tweets",
        "with gone as (select 1) insert into tweets select 'x' from gone",
        "/* select */ drop table tweets",
        "select text into copy from tweets",
        "select load_extension('/tmp/x.so')",
        "select writefile('{folder}/made.db', text) from tweets",
    ],
)
def test_a_query_can_neither_change_the_database_nor_write_a_file(query: str, database: Path, tmp_path: Path) -> None:
    before = database.read_bytes()
    with pytest.raises(DataError):
        read(database, query.format(folder=tmp_path))
    assert database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["rows.db"]


@pytest.mark.parametrize(
    "query",
    [
        "select text from tweets",
        " -- the rows\n SELECT text FROM tweets;",
        "with some as (select text from tweets) select text from some",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1) select text from n, tweets",
        "select upper(text) text from tweets",
        "select text from tweets where text like '%into%'",
    ],
)
def test_whatever_only_reads_is_read(query: str, database: Path) -> None:
    assert [str(row["text"]).lower() for row in read(database, query)] == ["into; the"]


def test_a_database_that_may_not_be_written_is_read(database: Path) -> None:
    database.chmod(0o400)
    assert len(read(database, "select text from tweets")) == 1


def test_an_address_may_name_environment_variables(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS_URL", f"sqlite:///{database}")
    assert len(read("${ROWS_URL}", "select text from tweets")) == 1
    with pytest.raises(DataError, match="the environment variable NO_SUCH_NAME, which is not set"):
        read("postgresql://me:${NO_SUCH_NAME}@host/db", "select 1")


def test_a_password_from_the_environment_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS_PASSWORD", "p@ss/w:rd")
    (_, origin) = sql_readers(
        "sqlite:///file::memory:?uri=true&x=${ROWS_PASSWORD}", {"train": "select 1"}, "task 't'"
    )["train"]
    assert "x=p@ss/w:rd" in unquote(origin)


SECRET = "postgresql://reader:s3cr@t/word@db/rows?sslpassword=s3cret"
VARIABLE = "postgresql://reader:${ROWS_PASSWORD}@db/rows"


def with_source(url: str) -> RunConfig:
    task = {"name": "t", "data": {"sql": url, "train": "select 1"}, "kind": "generate", "prompt": "a", "answer": "b"}
    return parse_config({"tasks": [task]}, Path.cwd())


def test_a_written_config_holds_no_password_and_keeps_the_name_of_a_variable(tmp_path: Path) -> None:
    for written in (dump_config(with_source(SECRET)), with_source(SECRET).model_dump_json()):
        assert "s3cr" not in written and "reader:***@db/rows" in written
    (tmp_path / "run.yaml").write_text(dump_config(with_source(VARIABLE)), "utf-8")
    assert load_config(tmp_path / "run.yaml").tasks[0].data.sql == VARIABLE
    assert yaml.safe_load(dump_config(with_source(SECRET)))["tasks"][0]["data"]["train"] == "select 1"


def test_a_password_that_was_not_kept_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"was not kept. Put it into an environment variable"):
        read("postgresql://reader:***@db/rows", "select 1")
