"""Untidy files become a run file all the same, and it says what was done about them."""

from pathlib import Path

import openpyxl
import pytest

from multitune.core.errors import DataError
from multitune.data.taskdata import prepare_task
from tests.proposal.conftest import Propose, reasons, write_file


def tickets(path: Path, encoding: str) -> Path:
    """As Excel exports them in Germany: semicolons, rows without a label, and one label in two spellings."""
    labels = ["Störung", "Rechnung", "rechnung", ""]
    lines = [f"{i};das w{i} wäre w{i % 9};{labels[i % 4]}" for i in range(80)]
    path.write_bytes("\r\n".join(["Nr.;Nachricht;Abteilung", *lines, ";;"]).encode(encoding))
    return path


def test_a_file_that_is_not_utf_8_is_read_as_windows_writes_it(proposed: Propose, tmp_path: Path) -> None:
    config, found = proposed(tickets(tmp_path / "tickets.csv", "cp1252"))
    (task,) = config.tasks
    assert task.data.encoding == "windows-1252" and task.labels == ("rechnung", "störung")
    assert reasons(found, "data.encoding") == ["windows-1252: not UTF-8; so a line reads '0;das w0 wäre w0;Störung'"]


def test_utf_8_and_ascii_need_no_encoding(proposed: Propose, tmp_path: Path) -> None:
    config, found = proposed(tickets(tmp_path / "tickets.csv", "utf-8"))
    assert config.tasks[0].data.encoding == "utf-8" and not reasons(found, "data.encoding")


def test_a_set_of_two_encodings_is_not_guessed(proposed: Propose, tmp_path: Path) -> None:
    files = tickets(tmp_path / "mail-train.csv", "cp1252"), tickets(tmp_path / "mail-test.csv", "utf-8")
    with pytest.raises(DataError, match=r"mail-train\.csv is not UTF-8"):
        proposed(*files)


def test_a_column_of_dates_is_no_text_that_could_be_read(proposed: Propose, tmp_path: Path) -> None:
    row = lambda i: {"mail": f"w{i} was late", "sent": f"2026-03-{i % 28 + 1}T09:{i}:00Z", "team": "ab"[i % 2]}  # noqa: E731
    _, found = proposed(write_file(tmp_path / "a.csv", row))
    assert not [warning for warning in found.warnings if "not read" in warning]


def test_rows_without_an_answer_are_left_out(proposed: Propose, tmp_path: Path) -> None:
    config, found = proposed(tickets(tmp_path / "tickets.csv", "utf-8"))
    assert config.tasks[0].data.required == ("Abteilung",)
    assert reasons(found, "data.required") == ["Abteilung: leaves out 20 rows without Abteilung"]
    assert sum(map(len, prepare_task(config.tasks[0], 17).examples.values())) == 60


def test_spellings_of_a_label_become_one(proposed: Propose, tmp_path: Path) -> None:
    config, found = proposed(tickets(tmp_path / "tickets.csv", "utf-8"))
    assert config.tasks[0].answer == "{{ Abteilung | lower }}"
    assert reasons(found, "answer") == ["{{ Abteilung | lower }}: one label is written in several ways"]


def test_labels_that_differ_keep_their_case(proposed: Propose, tmp_path: Path) -> None:
    row = lambda i: {"text": f"w{i} w3", "label": ["Red", "Blue"][i % 2]}  # noqa: E731
    assert proposed(write_file(tmp_path / "a.csv", row))[0].tasks[0].labels == ("Blue", "Red")


def test_the_first_sheet_with_rows_is_named(proposed: Propose, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for name in ("Reviews", "Returns"):
        sheet = book.create_sheet(name)
        for line in [("text", "label"), *((f"w{i} {name}", "ab"[i % 2]) for i in range(60))]:
            sheet.append(line)
    book.save(tmp_path / "shop.xlsx")
    config, found = proposed(tmp_path / "shop.xlsx")
    assert (config.tasks[0].name, config.tasks[0].data.sheet) == ("shop", "Reviews")
    assert reasons(found, "data.sheet") == ["Reviews: the first of those with rows: Reviews, Returns"]


def test_all_that_is_unclear_is_said_at_once(proposed: Propose, tmp_path: Path) -> None:
    row = lambda i: {"mail": f"w{i} w3", "team": "ab"[i % 2], "urgency": "cd"[i % 2]}  # noqa: E731
    with pytest.raises(DataError) as refused:
        proposed(*(write_file(tmp_path / f"{name}.csv", row) for name in ("one", "two")))
    first, *lines = str(refused.value).splitlines()
    assert first == "2 of 2 sets are not clear yet:"
    assert [line.partition(" Give ")[2] for line in lines] == [
        f"--answer {name}=COLUMN, one of: team, urgency" for name in ("one", "two")
    ]
