"""Cleaned copies: the source's own rows and columns without what checks drop, redacted, and the source untouched."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from multitune.audit.checks import Audited, AuditSet, Check, Dropped, Found
from multitune.audit.clean import without_limits, write_cleaned
from multitune.audit.registry import OWN
from multitune.audit.run import AuditInput, run_checks
from multitune.config.load import load_config, parse_config
from multitune.config.schema import RunConfig
from multitune.core.errors import DataError
from multitune.core.records import SPLITS
from multitune.core.results.audit import Audit, CleanedSet, Finding
from multitune.training.audit import read_audited

BLANK = "\u200b"
Rows = list[dict[str, Any]]
Clean = Callable[..., tuple[CleanedSet, ...]]


def rows(number: int, start: int = 0) -> Rows:
    return [{"n": i, "text": f"w{i} of all", "out": "w1", "more": {"kept": [i, None]}} for i in range(start, number)]


def drop_sevens(audited: Audited) -> Iterator[Dropped]:
    for one in audited.sets:
        for split in SPLITS:
            yield from (Dropped(one.name, split, row.id, "it has a 7") for row in one.rows(split) if "7" in row.prompt)


def find_sevens(audited: Audited) -> Iterator[Found]:
    for name in sorted({one.set for one in drop_sevens(audited)}):
        yield Finding(
            check="test.sevens", severity="high", sets=(name,), message="m", remedy="r", rows=1, of=1, value=1.0
        )


SEVENS = Check("test.sevens", "rows with a 7", find_sevens, drops=drop_sevens)
NAMES = Check("test.names", "names", lambda audited: (), redacts=lambda audited: lambda text: text.replace("all", "…"))


@pytest.fixture
def config(base_folder: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    def configured(data: object, **fields: Any) -> RunConfig:
        task = {"name": "one", "data": data, "kind": "generate", "prompt": "{{ text }}", "answer": "{{ out }}"}
        general = {**task, "name": "replay", "data": "rest.jsonl", "share": 0.1}
        write(tmp_path / "rest.jsonl", rows(60, 30))
        return parse_config({"base": str(base_folder), "tasks": [task | fields], "general": [general]}, tmp_path)

    return configured


@pytest.fixture
def clean(tmp_path: Path) -> Clean:
    def cleaned(config: RunConfig, *checks: Check, into: str = "clean") -> tuple[CleanedSet, ...]:
        given = read_audited(without_limits(config))
        given = AuditInput(given.name, given.sets, given.mixture, given.seed, given.config, checks or OWN)
        return write_cleaned(config, given, run_checks(given), tmp_path / into)

    return cleaned


def write(path: Path, content: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def copied(folder: Path) -> Rows:
    """The rows of the copy of `one`, whatever their split, by their number."""
    files = (folder / "clean/sets/one").glob("*.jsonl")
    return sorted((row for file in files for row in read(file)), key=lambda row: row["n"])


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.*")}


def test_a_copy_holds_the_rows_of_the_source_as_they_are_but_for_the_dropped(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    source = rows(50)
    source[7]["out"] = source[31]["out"] = BLANK
    write(tmp_path / "one.jsonl", source)
    found = clean(config("one.jsonl"))
    assert found[0] == CleanedSet(name="one", rows=48, removed=2, redacted=0)
    assert copied(tmp_path) == [row for row in source if row["out"] != BLANK]
    removed = read(tmp_path / "clean/removed.jsonl")
    assert [(line["set"], line["check"], line["removed"]) for line in removed] == [
        ("one", "quality.empty", "its answer shows nothing")
    ] * 2


def test_a_copy_audits_clean_and_its_source_is_as_it_was(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    source = rows(50)
    source[7]["out"] = BLANK
    write(tmp_path / "one.jsonl", source)
    made = config("one.jsonl")
    write(tmp_path / "rest.jsonl", rows(90, 60))  # none that the other set has
    before = digests(tmp_path)
    clean(made)
    assert digests(tmp_path) == before
    given = read_audited(load_config(tmp_path / "clean/run.yaml"))
    fixed = {check.name for check in given.made if check.drops or check.redacts}
    assert "quality.empty" in fixed
    assert [one.key for one in run_checks(given).findings if one.check in fixed] == []
    assert sum(given.sets[0].sizes().values()) == 49


def test_every_split_of_a_source_has_a_file_of_its_own(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    for split, start in (("train", 0), ("validation", 30), ("test", 60)):
        write(tmp_path / f"{split}.jsonl", rows(start + 30, start))
    data = {split: f"{split}.jsonl" for split in SPLITS}
    found = clean(config(data), SEVENS)
    assert found[0].removed == 3 + 3 + 12  # 7 17 27, 37 47 57, 67 70-79 87
    for split in SPLITS:
        kept = read(tmp_path / f"clean/sets/one/{split}.jsonl")
        assert kept == [row for row in read(tmp_path / f"{split}.jsonl") if "7" not in row["text"]]


def test_carved_splits_stay_as_they_were_audited_also_of_tasks_that_read_one_file(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    write(tmp_path / "one.jsonl", rows(100))
    made = config("one.jsonl")
    twin = {**made.tasks[0].model_dump(), "name": "two", "prompt": "again: {{ text }}"}
    made = parse_config({**made.model_dump(), "tasks": [made.tasks[0].model_dump(), twin]}, tmp_path)

    def numbers(sets: Sequence[AuditSet]) -> list[dict[str, set[str]]]:
        return [{split: {row.prompt.split("w")[1] for row in one.rows(split)} for split in SPLITS} for one in sets]

    before = numbers(read_audited(made).sets)
    clean(made, SEVENS)
    after = numbers(read_audited(load_config(tmp_path / "clean/run.yaml")).sets)
    assert before[0] == before[1] and after[0] == after[1]
    assert after == [{split: {n for n in one[split] if "7" not in n} for split in SPLITS} for one in before]


def test_rows_beyond_the_limit_are_audited_and_copied(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    source = rows(50)
    for row in source[10:20]:
        row["out"] = BLANK
    write(tmp_path / "one.jsonl", source)
    found = clean(config("one.jsonl", limit=5))
    assert (found[0].rows, found[0].removed) == (40, 10)


def test_texts_are_redacted_in_every_column_and_said_to_be(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    source = [{**row, "more": {"deep": ["for all", 3]}} for row in rows(40)]
    write(tmp_path / "one.jsonl", source)
    found = clean(config("one.jsonl"), NAMES)
    assert found[0] == CleanedSet(name="one", rows=40, removed=0, redacted=40)
    assert copied(tmp_path)[0] == {"n": 0, "text": "w0 of …", "out": "w1", "more": {"deep": ["for …", 3]}}
    assert read(tmp_path / "clean/removed.jsonl")[0]["redacted"] == ["text", "more"]


def test_a_row_whose_text_is_spread_over_a_list_of_words_is_removed(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    phone = Check(
        "test.phone", "phones", lambda seen: (), redacts=lambda seen: lambda text: text.replace("1 2 3", "…")
    )
    words = [["call", "1", "2", "3"], ["call", "1 2 3"], ["call", "me"]]
    write(tmp_path / "one.jsonl", [{**row, "words": words[place % 3]} for place, row in enumerate(rows(39))])
    found = clean(config("one.jsonl"), phone)
    assert found[0] == CleanedSet(name="one", rows=26, removed=13, redacted=13)
    assert [row["words"] for row in copied(tmp_path)[:2]] == [["call", "…"], ["call", "me"]]
    reasons = {line.get("removed") for line in read(tmp_path / "clean/removed.jsonl")}
    assert reasons == {None, "what would be redacted is spread over the items of words"}


def test_rows_of_an_accepted_finding_stay(config: Callable[..., RunConfig], clean: Clean, tmp_path: Path) -> None:
    write(tmp_path / "one.jsonl", rows(40))
    accepted = tmp_path / "accepted.yaml"
    accepted.write_text("- {finding: 'test.sevens:one', reason: they may stay}\n")
    made = config("one.jsonl")
    made = made.model_copy(update={"audit": made.audit.model_copy(update={"accept": str(accepted)})})
    one, replay = clean(made, SEVENS)
    assert (one.removed, replay.removed) == (0, 3)


def test_a_table_with_numbers_and_gaps_becomes_json_lines(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    import pyarrow
    import pyarrow.parquet

    days = pyarrow.array([86_400 * i for i in range(40)], pyarrow.timestamp("s"))
    columns = {
        "n": list(range(40)),
        "text": [f"w{i}" for i in range(40)],
        "out": ["w1"] * 40,
        "x": [float("nan")] * 40,
        "day": days,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "one.parquet")
    clean(config("one.parquet"))
    assert copied(tmp_path)[0] == {"n": 0, "text": "w0", "out": "w1", "x": None, "day": "1970-01-01 00:00:00"}


def test_a_retention_set_keeps_the_rows_that_it_answers(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    write(tmp_path / "one.jsonl", rows(40))
    for split, start in (("train", 100), ("test", 200)):
        write(tmp_path / f"kept-{split}.jsonl", rows(start + 20, start))
    made = config("one.jsonl")
    data = {"train": str(tmp_path / "kept-train.jsonl"), "test": str(tmp_path / "kept-test.jsonl")}
    kept = {**made.tasks[0].model_dump(), "name": "kept", "data": data}
    made = parse_config({**made.model_dump(), "retention": [kept]}, tmp_path)
    assert clean(made, SEVENS)[-1] == CleanedSet(name="kept", rows=18, removed=2, redacted=0)
    again = read_audited(load_config(tmp_path / "clean/run.yaml"))
    assert again.sets[-1].sizes() == {"train": 0, "validation": 0, "test": 18}


def test_nothing_is_written_where_nothing_would_be_left(
    config: Callable[..., RunConfig], clean: Clean, tmp_path: Path
) -> None:
    write(tmp_path / "one.jsonl", [{"text": f"7 {i}", "out": "w1"} for i in range(40)])
    before = sorted(tmp_path.iterdir())
    made = config("one.jsonl")
    with pytest.raises(DataError, match=r"task 'one': every \w+ row would be removed"):
        clean(made, SEVENS)
    assert sorted(tmp_path.iterdir()) == sorted({*before, tmp_path / "rest.jsonl"})


def test_a_check_that_could_not_be_made_drops_nothing(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    write(tmp_path / "one.jsonl", rows(40))
    made = config("one.jsonl")
    given = read_audited(made)
    given = AuditInput(given.name, given.sets, given.mixture, given.seed, given.config, [SEVENS])
    audit = Audit.model_validate(
        {"name": "run", "sets": (), "skipped": [{"check": "test.sevens", "reason": "needs X"}]}
    )
    assert [one.removed for one in write_cleaned(made, given, audit, tmp_path / "clean")] == [0, 0]
