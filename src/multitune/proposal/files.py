"""Which data files are one task: splits found by the words in their names, folders looked into."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multitune.conversion.given import unique_name
from multitune.core.errors import DataError, DataNotFoundError, suggest
from multitune.core.records import SPLITS, Split
from multitune.data.foreign import BY_SUFFIX
from multitune.data.formats import READERS, is_data_file
from multitune.data.sources import SPLIT_NAME, SPLIT_WORDS

SUFFIXES = f"({'|'.join(map(re.escape, (*READERS, '.gz')))})+$"
MOST_SETS = 64  # a folder with more is something else than the tasks of one model


@dataclass(frozen=True, slots=True)
class FoundSet:
    """The files of one task."""

    name: str
    files: Mapping[Split, Path]  # train among them; shards as one glob
    because: str  # why these files are one task


def find_sets(paths: Sequence[Path]) -> list[FoundSet]:
    """The tasks that files and folders hold.

    Files of one folder whose names differ in the word of a split alone, such as `mail-train.csv` and `mail-test.csv`,
    are one task. A folder stands for its data files, and without any for those of its folders.

    Raises:
        DataNotFoundError: a path that is not there, or holds no data file.
        DataError: a file of no known format, two files of one split, or a split without training rows.
    """
    files = list(dict.fromkeys(_with_shards(file.absolute()) for path in paths for file in _files(path)))
    groups: dict[tuple[Path, str], dict[Split, Path]] = {}
    for file in files:
        stem, split, named = _split_of(file)
        group = groups.setdefault((file.parent, stem), {})
        if split in group and not named:  # `mail.csv` and `mail.jsonl` are two sets
            group = groups.setdefault((file.parent, file.name), {})
        if split in group:
            raise DataError(
                f"{file}: beside {group[split].name}, both would be {split} rows of one task. Name one of the two "
                "alone, or rename it"
            )
        group[split] = file
    if len(groups) > MOST_SETS:
        raise DataError(f"{len(groups)} sets are more than the {MOST_SETS} that init proposes tasks for. Name fewer")
    found: list[FoundSet] = []
    for (folder, stem), group in groups.items():
        if "train" not in group:
            other = next(iter(group.values()))
            raise DataError(f"{other}: its name says {next(iter(group))}, and no file beside it was given for train")
        name = unique_name(stem or folder.name, [one.name for one in found])
        found.append(FoundSet(name, {split: group[split] for split in SPLITS if split in group}, _why(group)))
    return found


def _files(path: Path) -> list[Path]:
    """The data files that a path stands for."""
    if path.is_dir():
        inside = sorted(one for one in path.iterdir() if not one.name.startswith("."))
        found = [one for one in inside if one.is_file() and is_data_file(one)]
        deeper = [file for one in inside if one.is_dir() for file in _data_files(one)] if not found else []
        if not found and not deeper:
            raise DataNotFoundError(f"{path}: holds no data file. Known: {', '.join(READERS)}, each also .gz")
        return found or deeper
    if not path.exists():
        beside = sorted(one.name for one in path.parent.glob("*") if is_data_file(one))[:20]
        raise DataNotFoundError(
            f"{path}: no such file or folder. {suggest(path.name, beside) if beside else 'Check it'}"
        )
    if not is_data_file(path):
        if looks := BY_SUFFIX.get(path.suffix.lower()):
            raise DataError(f"{path}: is {looks}")
        raise DataError(
            f"{path}: no known suffix. Known: {', '.join(READERS)}, each also .gz. Save it as one of these"
        )
    return [path]


def _data_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and is_data_file(file) and file.name[0] != ".")


def _with_shards(file: Path) -> Path:
    """`train-00000-of-00004.parquet` as the glob of all its shards."""
    return file.with_name(re.sub(r"\d+(?=-of-\d+\.)", "*", file.name))


def _split_of(file: Path) -> tuple[str, Split, bool]:
    """What a name is without the word of its split, that split, and whether the name says it.

    `mail-train.csv` is ("mail", "train", True).
    """
    match = SPLIT_NAME.fullmatch(file.name)
    bare = file.name[: match.start(1)] if match else file.name
    stem = re.sub(SUFFIXES, "", bare, flags=re.IGNORECASE)
    return stem.strip("-_. "), SPLIT_WORDS[match[1].lower()] if match else "train", bool(match)


def _why(group: Mapping[Split, Path]) -> str:
    if len(group) == 1:
        return "one file"
    return f"the names of {len(group)} files differ in the word of their split alone"
