"""Made runs and studies, pages read back as tables, and a real browser where the machine has one."""

import shutil
from collections.abc import Generator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks.made_runs import made_run, made_study
from multitune.core.run_folder import RunFolder
from tests.conftest import unseal

VOID = {"meta", "input", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """A page as a reader's program sees it: elements in order, tables by caption, and its whole text."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self.open: list[str] = []
        self._caption = ""
        self._rows: list[list[str]] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements nest"
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if {"style", "script"}.isdisjoint(self.open):
            self.text += data
        if "caption" in self.open:
            self._caption += data
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, caption: str) -> list[dict[str, str]]:
        """Rows by column title, of the one table whose caption begins so."""
        (found,) = [rows for name, rows in self.tables.items() if name.startswith(caption)]
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("made") / "demo").path


@pytest.fixture
def run(_made: Path, tmp_path: Path) -> RunFolder:
    """A run of three tasks that a test may damage."""
    return RunFolder(unseal(Path(shutil.copytree(_made, tmp_path / "demo"))))


@pytest.fixture(scope="session")
def page(_made: Path) -> Page:
    """The page of the run as it is."""
    from multitune.reporting.page import write_report

    return Page(write_report([_made], _made.parent / "page.html"))


@pytest.fixture(scope="session")
def _made_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_study(tmp_path_factory.mktemp("study") / "pairs")


@pytest.fixture
def study(_made_study: Path, tmp_path: Path) -> Path:
    """A study of four tasks that a test may damage."""
    return unseal(Path(shutil.copytree(_made_study, tmp_path / "pairs")))


@pytest.fixture(scope="session")
def browser() -> Generator[Any]:
    """A real Chromium. It is a program of the system, no package of ours: where it is absent, its tests cannot be."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()
