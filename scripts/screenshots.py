"""Photographs the reports that the README shows: `python -m scripts.screenshots runs/demo runs/studies/finance`."""

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from multitune.reporting.page import write_report

IMAGES = Path(__file__).parent.parent / "docs" / "images"
COLOURS = 64  # the pages have few


def main(run: Path, study: Path) -> None:
    """Write docs/images anew from a run's folder and a study's."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        pages = {
            name: write_report([path], Path(folder, f"{name}.html")) for name, path in (("run", run), ("study", study))
        }
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        photograph(browser, pages["run"], "report.png", (1280, 1500))
        photograph(browser, pages["run"], "report-dark.png", (1280, 1500), "dark")
        photograph(browser, pages["run"], "report-phone.png", (360, 1500))
        photograph(browser, pages["study"], "report-study.png", (1280, 1900))
        browser.close()


def photograph(browser: Any, page: Path, name: str, size: tuple[int, int], scheme: str = "light") -> None:
    """The top of a page as a small PNG file."""
    window = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    window.goto(page.as_uri())
    picture = Image.open(io.BytesIO(window.screenshot()))
    picture.convert("RGB").quantize(COLOURS).save(IMAGES / name, optimize=True)
    window.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
