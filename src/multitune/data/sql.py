"""Rows of a database: one query each, which can only read, and a password that no file has to hold."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from multitune.core.errors import DataError, DataNotFoundError
from multitune.core.extras import missing_extra, missing_package
from multitune.core.records import Split
from multitune.core.text import HIDDEN, without_password
from multitune.data.formats import Row

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_TEXT_OR_COMMENT = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)
# Actions that SQLite asks permission for (sqlite3.h): to read is allowed, whatever the query finds to write with.
_READING = {20, 21, 31, 33}  # READ, SELECT, FUNCTION, RECURSIVE
_READ_ONLY = {  # what makes the session read-only, whatever a query says
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "cockroachdb": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
}

# It runs in this process: without this its queries read any file and address.
_DUCKDB = {"read_only": True, "config": {"enable_external_access": "false"}}


def sql_readers(
    url: str, queries: Mapping[Split, str], place: str
) -> dict[Split, tuple[Callable[[], Iterator[Row]], str]]:
    """Per split what reads the rows of its query, and where they come from, for people.

    Args:
        url: an address of SQLAlchemy, in which `${NAME}` stands for an environment variable.
        queries: one SELECT each.
        place: whose data it is, for messages.

    Raises:
        DataNotFoundError: no such database.
        DataError: no address, a variable that is not set, or a query that is no single SELECT.
        MissingExtraError: SQLAlchemy or the database's driver is not installed.
    """
    for split, query in queries.items():
        _require_select(query, f"{place}: data.{split}")
    engine = _engine(url, place)
    shown = without_password(engine.url.render_as_string(hide_password=True))
    readers: dict[Split, tuple[Callable[[], Iterator[Row]], str]] = {}
    for split, query in queries.items():
        origin = f"{shown} {query}"
        readers[split] = partial(_rows, engine, query, f"{place}: data.{split}: the query failed", origin), origin
    return readers


def _require_select(query: str, where: str) -> None:
    """Refuse what is more or other than one SELECT, before anything is connected."""
    bare = _TEXT_OR_COMMENT.sub(lambda match: " " if match[0][0] in "-/" else "''", query).strip()
    words = bare.lower().split()
    opening = bare.lstrip("( \n\t").lower()
    if not opening.startswith(("select", "with", "values")) or "into" in words or "/*!" in query:
        raise DataError(f"{where}: {query[:80]!r} is no SELECT. Data is read by one SELECT (or WITH … SELECT) alone")
    # Also within quotes, about which databases do not agree.
    if ";" in query.strip().removesuffix(";"):
        raise DataError(f"{where}: a semicolon before the end. Give one SELECT; for one in a text, write char(59)")


def _engine(url: str, place: str) -> Any:
    try:
        import sqlalchemy
        import sqlalchemy.event
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError as error:
        raise missing_extra(f"{place}: data.sql", "sql") from error
    try:
        address = sqlalchemy.make_url(_filled(url, place))
        if address.password == HIDDEN:
            raise DataError(
                f"{place}: the password in data.sql was not kept. Put it into an environment variable, and write "
                "${NAME} in its place"
            )
        backend, file = address.get_backend_name(), address.database
        if backend == "sqlite" and file and not file.startswith((":memory:", "file:")):
            # SQLite would make an empty database in the place of a missing one, and then miss the table.
            if not Path(file).is_file():
                raise DataNotFoundError(f"{place}: no database {file}. Check the path in data.sql")
            query = {**address.query, "mode": "ro", "uri": "true"}
            address = address.set(database=f"file:{quote(file)}", query=query)
        options = _DUCKDB if backend == "duckdb" else {}
        engine = sqlalchemy.create_engine(address, connect_args=options)
    except ImportError as error:
        raise missing_package(f"{place}: data.sql", f"{error.name}") from error
    except (ArgumentError, NoSuchModuleError) as error:
        # The message of a bad URL may hold its password, so that it isn't repeated.
        raise DataError(
            f"{place}: data.sql is no database address. Write it as dialect://user:${{PASSWORD}}@host/name, "
            "or sqlite:///file.db"
        ) from error
    sqlalchemy.event.listen(engine, "connect", partial(_restrict, backend))
    return engine


def _filled(url: str, place: str) -> str:
    """The address with its variables' values, escaped where they are a name, a password or a parameter."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise DataError(f"{place}: data.sql names the environment variable {match[1]}, which is not set. Set it")
        is_escaped = "@" in url[match.end() :] or url[: match.start()].endswith("=")
        return quote_plus(found) if is_escaped else found

    return _VARIABLE.sub(value, url)


def _restrict(backend: str, connection: Any, record: Any) -> None:
    """Make a new connection one that can only read, as far as its database knows such a thing."""
    if backend == "sqlite":
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(lambda action, *about: 0 if action in _READING else 1)  # else SQLITE_DENY
    elif backend in _READ_ONLY:
        cursor = connection.cursor()
        cursor.execute(_READ_ONLY[backend])
        cursor.close()
        connection.commit()


def _rows(engine: Any, query: str, failed: str, origin: str) -> Iterator[Row]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # Without parameters, so that a colon or a per cent sign in the query stays what it is; never committed.
        with engine.connect().execution_options(no_parameters=True) as connection:
            yield from map(dict, connection.exec_driver_sql(query).mappings())
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        line = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise DataError(f"{failed} ({line}). Check it against {origin}") from error
    finally:
        engine.dispose()
