"""docs/commands.md says what the command line says."""

import re

import pytest
from typer.testing import CliRunner

from multitune.cli.main import app
from scripts import commands

PAGE = commands.PAGE.read_text("utf-8")
NAMES = [name for name, _ in commands.verbs()]


def test_the_page_is_what_its_script_writes() -> None:
    assert commands.written() == PAGE, "run: make commands"


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_that_the_page_names_answers_help_with_its_options(name: str) -> None:
    done = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"})
    part = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(?:-\w, )?(--[a-z-]+)", part, re.MULTILINE)
    assert done.exit_code == 0 and [option for option in named if option not in done.output] == []


def test_every_verb_of_help_has_a_section() -> None:
    listed = re.findall(r"^│ ([a-z][a-z-]*) ", CliRunner().invoke(app, ["--help"]).output, re.MULTILINE)
    assert listed and {name.split()[0] for name in NAMES} == set(listed)


def test_every_link_within_the_page_has_its_section() -> None:
    links = re.findall(r"\]\(#([a-z-]+)\)", PAGE)
    assert links == [title.replace(" ", "-") for title in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)]
