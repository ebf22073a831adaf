"""Rows from files, folders, globs, the Hugging Face hub or an SQL query, and a key that changes when they do."""

import glob
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from multitune.config.source import SourceConfig
from multitune.core.errors import DataError, DataNotFoundError, suggest
from multitune.core.hub import nearest_path, require_on_hub
from multitune.core.records import SPLITS, Split
from multitune.core.untrusted import open_regular
from multitune.data.arrow_rows import arrow_rows
from multitune.data.foreign import require_own_rows
from multitune.data.formats import AS_WRITTEN, READERS, FileOptions, Row, is_data_file, read_rows
from multitune.data.sql import sql_readers
from multitune.tasks.filters import is_missing

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_ROWS = 1000  # taken from Arrow at a time
# `train.jsonl`, `sst-dev.csv`, `test-00000-of-00001.parquet`: the last word that names a split.
SPLIT_NAME = re.compile(r"(?:.*[^a-z])?(train|validation|valid|val|dev|test)[^a-z].*", re.IGNORECASE)
SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}

ClassNames = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one split, read from where they are stored each time that they are iterated over."""

    read: Callable[[], Iterator[Row]]
    key: str | None  # equal where the rows are; None for a query, whose rows may change without a trace
    origin: str  # for people: a path, a hub id with its split, or a database
    place: str  # whose data it is, for messages
    # Names of the classes of columns that hold their numbers, where the source tells them.
    class_names: Callable[[], ClassNames] = dict
    required: Sequence[str] = ()  # columns that a row must fill

    def __iter__(self) -> Iterator[Row]:
        """The rows that fill all required columns, in order.

        Raises:
            DataError: a row cannot be read, or there is none.
        """
        rows = (row for row in self.read() if self._is_complete(row)) if self.required else self.read()
        first = next(rows, None)
        if first is None and self.required:
            listed = ", ".join(self.required)
            raise DataError(f"{self.place}: no row of {self.origin} fills data.required: {listed}. Check the names")
        if first is None:
            raise DataError(f"{self.place}: {self.origin} holds no rows. Check the split or the query")
        yield first
        yield from rows

    def incomplete(self) -> int:
        """Rows that leave a required column empty, which takes a pass over all of them."""
        return sum(not self._is_complete(row) for row in self.read()) if self.required else 0

    def _is_complete(self, row: Row) -> bool:
        return not any(is_missing(row.get(name)) or str(row[name]).isspace() for name in self.required)


def load_rows(source: SourceConfig, place: str) -> dict[Split, Table]:
    """Every split that a source names; `train` is always among them.

    Args:
        source: file paths should be absolute; a folder given as `train` may hold files named after the splits.
        place: whose data it is, for messages, such as `task 'tweets'`.

    Raises:
        DataNotFoundError: no such file, folder, hub set or database.
        DataError: a source without train, a file or a hub set that cannot be read, or a wrong database address.
        MissingExtraError: SQL without SQLAlchemy or the database's driver.
    """
    tables = _tables(source, place)
    if not source.required:
        return tables
    named = f" required {' '.join(map(repr, source.required))}"
    return {
        split: replace(table, required=source.required, key=table.key and table.key + named)
        for split, table in tables.items()
    }


def _tables(source: SourceConfig, place: str) -> dict[Split, Table]:
    wanted: dict[Split, str] = {split: value for split in SPLITS if (value := getattr(source, split))}
    if source.hub:
        named: dict[Split, str] = {"train": "train", **wanted}
        return {split: _hub_table(source, source.hub, name, place) for split, name in named.items()}
    if "train" not in wanted:
        raise DataError(f"{place}: data.train is missing. Give a file, a folder, a glob, a hub id or an SQL query")
    if source.sql:
        return _sql_tables(source.sql, wanted, place)
    options = FileOptions(source.encoding, source.sheet)
    files = _source_files(source, wanted, place)
    return {split: _file_table(paths, place, options) for split, paths in files.items()}


def _source_files(source: SourceConfig, wanted: Mapping[Split, str], place: str) -> dict[Split, list[Path]]:
    """The files of every split; those of a folder given as `train` by the split in their name."""
    files: dict[Split, list[Path]] = {split: _files(where, place) for split, where in wanted.items()}
    if Path(wanted["train"]).is_dir():
        named_in_folder = _by_name(files.pop("train"))
        files = named_in_folder | files  # a split with a path of its own keeps it
        if "train" not in files:
            raise DataError(f"{place}: {wanted['train']} holds no file named train. Name one so, or give data.train")
    return files


def _files(where: str, place: str) -> list[Path]:
    """The files that a path, a folder or a glob stands for, by name."""
    path = Path(where)
    if path.is_dir():
        require_own_rows(path, place)
        found = sorted(p for p in path.iterdir() if p.is_file() and is_data_file(p) and not p.name.startswith("."))
        if not found:
            raise DataNotFoundError(f"{place}: {path} holds no data file. Known: {', '.join(READERS)}, each also .gz")
        return found
    if path.exists():
        return [path]
    if glob.has_magic(where):
        found = sorted(Path(p) for p in glob.glob(where, recursive=True) if Path(p).is_file())
        if not found:
            raise DataNotFoundError(f"{place}: no file matches {where}. Check the pattern and the folder")
        return found
    beside = sorted(p.name for p in path.parent.glob("*") if is_data_file(p))
    near = nearest_path(path)
    hint = suggest(path.name, beside[:20]) if beside else f"{near}Check the path, or give a hub id as `hub:`"
    raise DataNotFoundError(f"{place}: no file or folder {path}. {hint}")


def _by_name(paths: Sequence[Path]) -> dict[Split, list[Path]]:
    """A folder's files by the split in their name; a folder without such names is train as a whole."""
    named: dict[Split, list[Path]] = {}
    for path in paths:
        if match := SPLIT_NAME.fullmatch(path.name):
            named.setdefault(SPLIT_WORDS[match[1].lower()], []).append(path)
    return named or {"train": list(paths)}


def _file_table(paths: Sequence[Path], place: str, options: FileOptions) -> Table:
    """Keyed by what the files hold, so that a copy or a touched file is the same rows."""
    key = hashlib.sha256(b"" if options == AS_WRITTEN else repr(options).encode())
    for path in paths:
        try:
            with open_regular(path) as file:
                key.update(f"{path.suffixes} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise DataError(
                f"{place}: {path} cannot be read ({error.strerror or error}). Check the path and its rights"
            ) from error

    def read() -> Iterator[Row]:
        return chain.from_iterable(read_rows(path, place, options) for path in paths)

    return Table(read, key.hexdigest(), ", ".join(map(str, paths)), place, partial(_names_in_file, paths[0]))


def _names_in_file(path: Path) -> ClassNames:
    """What `datasets` writes into the metadata of a Parquet file."""
    if path.suffix.lower() != ".parquet":
        return {}
    import datasets
    import pyarrow.parquet

    with open_regular(path) as file:
        return _class_names(datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(file)))


def _class_names(features: Mapping[str, Any]) -> ClassNames:
    """Of columns with one class a row, and of those with a list of them."""
    found: dict[str, Sequence[str]] = {}
    for column, feature in features.items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names:
            found[column] = tuple(map(str, names))
    return found


def require_hub_id(hub: str, place: str) -> None:
    """Refuse what the hub's client would read from this machine instead: a path, or the name of a file format.

    Raises:
        DataError: it is no hub id.
    """
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as FORMATS  # pyright: ignore[reportPrivateUsage]

    if not HUB_ID.fullmatch(hub) or hub in FORMATS or Path(hub).exists():
        raise DataError(f"{place}: data.hub is {hub!r}, no hub id such as owner/name. Give files as data.train")


def _hub_table(source: SourceConfig, hub: str, split: str, place: str) -> Table:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    require_hub_id(hub, place)
    origin = " ".join(filter(None, [hub, source.config, split, source.revision and f"@{source.revision}"]))
    require_on_hub(hub, "dataset", place, source.revision)
    try:
        table = datasets.load_dataset(hub, source.config, split=split, revision=source.revision)
    except DatasetNotFoundError as error:
        raise DataNotFoundError(
            f"{place}: {_first_line(error)} Check the id; for a gated set, `hf auth login`"
        ) from error
    except Exception as error:  # the hub's client lets network, cache, format and naming faults through, of any class
        raise DataError(
            f"{place}: the hub set {origin} could not be loaded ({type(error).__name__}: {_first_line(error)}). "
            "Check config, split and connection, or download its files and give their path"
        ) from error

    def read() -> Iterator[Row]:
        arrow: Any = table.with_format("arrow")
        for batch in arrow.iter(HUB_ROWS):
            yield from arrow_rows(batch)

    fingerprint = getattr(table, "_fingerprint")  # noqa: B009 (protected, yet what distinguishes two tables)
    return Table(read, f"hub {fingerprint}", origin, place, lambda: _class_names(table.features or {}))


def _sql_tables(url: str, queries: Mapping[Split, str], place: str) -> dict[Split, Table]:
    """Without a key: the rows of a database may change without a trace."""
    readers = sql_readers(url, queries, place)
    return {split: Table(read, None, origin, f"{place}: data.{split}") for split, (read, origin) in readers.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
