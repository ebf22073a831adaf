"""What goes into a pipe or a file: one row a line, whatever its length, and help under both of its names."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from multitune.cli.main import app
from multitune.cli.show import put
from multitune.reporting.blocks import Cell, Column, Table

LONG = Table(
    "long",
    "two rows, each wider than any terminal",
    [Column("task"), Column("score", number=True), Column("why")],
    [
        [Cell("t" * 90), Cell("0.5"), Cell("because " * 30)],
        [Cell("a name of many words " * 5), Cell("0.25"), Cell("no reason")],
    ],
)


def piped(*arguments: object, columns: str | None = None) -> str:
    """What a command writes into a pipe."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    command = [sys.executable, "-m", "multitune.cli.main", *map(str, arguments)]
    environment |= {"COLUMNS": columns} if columns else {}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_in_a_file_a_row_is_a_line_and_nothing_is_cut() -> None:
    file = io.StringIO()
    put(Console(file=file, width=80), LONG)
    head, *rows = file.getvalue().splitlines()
    assert head.split() == ["task", "score", "why"]
    assert [row.split() for row in rows] == [" ".join(cell.text for cell in row).split() for row in LONG.rows]


def test_on_a_terminal_a_table_keeps_to_its_width() -> None:
    file = io.StringIO()
    put(Console(file=file, width=80, force_terminal=True, color_system=None), LONG)
    assert max(len(line) for line in file.getvalue().splitlines()) <= 80


@pytest.mark.parametrize("columns", [None, "40"])
def test_a_piped_list_of_runs_has_one_line_for_each(columns: str | None, tmp_path: Path) -> None:
    names = ["a-run-with-quite-a-long-name-" + letter * 60 for letter in "abc"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("tasks: [1]\n", "utf-8")
    lines = piped("runs", "list", tmp_path, columns=columns).splitlines()
    for name in names:
        assert any(line.startswith(f"{name} ") and "stopped" in line for line in lines), lines


def test_a_piped_list_of_runs_is_json_on_request(tmp_path: Path) -> None:
    assert json.loads(piped("runs", "list", tmp_path, "--json")) == []


def commands() -> list[list[str]]:
    """Every verb, and every verb of a group."""
    import typer

    group = typer.main.get_command(app)
    found: list[list[str]] = [[]]
    for name, command in getattr(group, "commands", {}).items():
        found += [[name], *([name, inner] for inner in getattr(command, "commands", {}))]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_h_is_short_for_help_everywhere(command: list[str]) -> None:
    from typer.testing import CliRunner

    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output) and "Usage" in long.output


def test_version_is_an_option_and_a_verb() -> None:
    assert piped("--version") == piped("version")
