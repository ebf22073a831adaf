"""Photographs the reports that the README shows: `python -m scripts.screenshots [RUN STUDY]`.

Without folders it shows a made run, whose numbers are drawn so that every kind of verdict is to be seen, and the
recorded study of the finance tasks.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.made_runs import made_run
from multitune.reporting.page import write_report

IMAGES = Path(__file__).parent.parent / "docs" / "images"
RECORDED = IMAGES.parent.parent / "studies" / "finance"
COLOURS = 64  # the pages have few
SECTIONS = {"labels": 700, "ship": 640, "answers": 620}  # section of a run's page -> most lines of its picture


def main(run: Path | None, study: Path) -> None:
    """Write docs/images anew from a run's folder, or a made one, and a study's."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = run or made_run(Path(folder, "drawn-numbers"), tasks=4, rows=240).path
        pages = {
            name: write_report([path], Path(folder, f"{name}.html")) for name, path in (("run", run), ("study", study))
        }
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        photograph(browser, pages["run"], "report.png", (1280, 1180))
        photograph(browser, pages["run"], "report-dark.png", (1280, 1180), "dark")
        photograph(browser, pages["run"], "report-phone.png", (390, 1500))
        photograph(browser, pages["study"], "report-study.png", (1280, 1900))
        for section, lines in SECTIONS.items():
            photograph_section(browser, pages["run"], section, lines)
        browser.close()


def photograph(browser: Any, page: Path, name: str, size: tuple[int, int], scheme: str = "light") -> None:
    """The top of a page as a small PNG file."""
    window = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    window.goto(page.as_uri())
    picture = Image.open(io.BytesIO(window.screenshot()))
    picture.convert("RGB").quantize(COLOURS).save(IMAGES / name, optimize=True)
    window.close()


def photograph_section(browser: Any, page: Path, section: str, lines: int) -> None:
    """The beginning of one section, with the first thing in it that opens opened."""
    window = browser.new_page(viewport={"width": 960, "height": 1200})
    window.goto(page.as_uri())
    place = window.locator(f"section[id$='-{section}']")
    if (folded := place.locator("details > summary")).count() and section != "ship":
        folded.first.click()
    picture = Image.open(io.BytesIO(place.screenshot()))
    picture = picture.convert("RGB").crop((0, 0, picture.width, min(lines, picture.height)))
    picture.quantize(COLOURS // 2).save(IMAGES / f"report-{section}.png", optimize=True)
    window.close()


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:3]]
    main(given[0] if given else None, given[1] if given[1:] else RECORDED)
