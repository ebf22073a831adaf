"""Excel workbooks: sheets become rows with the values that one sees in them."""

import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from multitune.config.source import SourceConfig
from multitune.core import untrusted
from multitune.core.errors import DataError, MissingExtraError
from multitune.data.formats import FileOptions, read_rows
from multitune.data.sources import load_rows

SHEET = [("Review", "Stars", None), (None, None, None), ("good", 5, None), ("fair", None, None), ("bad", 1.5, None)]


def written(path: Path, **sheets: list[tuple[Any, ...]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, lines in sheets.items():
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


def test_filled_rows_below_the_header_are_rows(tmp_path: Path) -> None:
    rows = list(read_rows(written(tmp_path / "a.xlsx", One=SHEET), "task"))
    assert rows == [
        {"Review": "good", "Stars": 5},
        {"Review": "fair", "Stars": None},
        {"Review": "bad", "Stars": 1.5},
    ]


def test_a_date_is_text_as_iso_8601_has_it(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 3, 9, 8, 30)
    path = written(tmp_path / "a.xlsx", One=[("day", "moment"), (datetime.date(2026, 3, 9), moment)])
    assert list(read_rows(path, "task")) == [{"day": "2026-03-09", "moment": "2026-03-09T08:30:00"}]


def test_a_sheet_with_a_header_alone_needs_no_choice(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xlsx", Notes=[("exported by Anna",)], One=SHEET)
    assert len(list(read_rows(path, "task"))) == 3


def test_of_several_sheets_one_must_be_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xlsx", One=SHEET, Two=[("text",), ("other",)])
    with pytest.raises(DataError, match=r"has 2 sheets with rows: One, Two\. Name one: data\.sheet"):
        list(read_rows(path, "task"))
    assert list(read_rows(path, "task", FileOptions(sheet="Two"))) == [{"text": "other"}]
    with pytest.raises(DataError, match=r"data\.sheet is 'Tow', no sheet with rows\. Did you mean 'Two'"):
        list(read_rows(path, "task", FileOptions(sheet="Tow")))


def test_two_sheets_of_one_file_are_two_sets(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xlsx", One=SHEET, Two=[("text",), ("other",)])
    keys = {load_rows(SourceConfig(train=str(path), sheet=one), "task")["train"].key for one in ("One", "Two")}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([("a", "a"), (1, 2)], "must name every column once"),
        ([("a", None), (1, 2)], "column 2 has no name, but row 1 fills it"),
    ],
)
def test_a_header_that_names_no_columns_is_refused(tmp_path: Path, lines: list[Any], says: str) -> None:
    with pytest.raises(DataError, match=f"sheet 'One'.*{says}"):
        list(read_rows(written(tmp_path / "a.xlsx", One=lines), "task"))


def test_a_workbook_that_grows_beyond_measure_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.xlsx", One=[("text",), *[("w" * 1000,)] * 200])
    monkeypatch.setenv("MULTITUNE_MAX_EXPANSION", "1")
    monkeypatch.setattr(untrusted, "GROWS_FREELY", 1000)
    monkeypatch.setattr(openpyxl, "load_workbook", lambda *_, **__: pytest.fail("it was unpacked first"))
    with pytest.raises(DataError, match="grows to more than"):
        list(read_rows(path, "task"))


def test_without_openpyxl_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.xlsx", One=SHEET)
    monkeypatch.setattr("multitune.core.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"a\.xlsx: needs openpyxl.*multitune\[excel\]"):
        list(read_rows(path, "task"))
