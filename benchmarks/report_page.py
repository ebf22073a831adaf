"""How large reports are, how long they take to write, and how soon a browser has opened them.

`make bench PART=report_page`: a made run of 8 tasks with 100,800 predictions, a made study of 220 arms, and both on
one page; RUN=folder adds a real run. Opening is measured in Chromium, from the start of the navigation to
the end of its load event, five times each in a fresh window.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.made_runs import made_run, made_study
from benchmarks.record import record
from multitune.reporting.page import write_report

COMMAND = "make bench PART=report_page"
TASKS, ROWS, ARMS, OPENINGS = 8, 4200, 220, 5
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    """Measure, print and record."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("report_page needs a Chromium on this machine (Debian: apt-get install chromium)")
    figures: dict[str, Any] = {"predictions": 3 * TASKS * ROWS, "arms": ARMS}
    with tempfile.TemporaryDirectory() as folder:
        run = made_run(Path(folder, "run"), tasks=TASKS, rows=ROWS).path
        study = made_study(Path(folder, "study"), tasks=TASKS, arms=ARMS)
        pages = {"run": [run], "study": [study], "run and study": [run, study]}
        if given := os.environ.get("RUN"):
            pages["real run"] = [Path(given)]
        write_report([run], Path(folder, "first.html"))  # imports and fonts are found once
        for name, folders in pages.items():
            target = Path(folder, f"{name}.html")
            started = time.monotonic()
            write_report(folders, target)
            figures[name] = {"seconds_to_write": round(time.monotonic() - started, 2)}
            figures[name] |= {"bytes": target.stat().st_size, "open_seconds": opened(target, program)}
            print(name, figures[name])
    record("report_page", COMMAND, figures)


def opened(page: Path, program: str) -> list[float]:
    """Seconds from the start of the navigation to the end of the load event, smallest first."""
    from playwright.sync_api import sync_playwright

    seconds: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(OPENINGS):
            window = browser.new_page()
            window.goto(page.as_uri())
            seconds.append(round(window.evaluate(LOADED) / 1000, 3))
            window.close()
        browser.close()
    return sorted(seconds)


if __name__ == "__main__":
    main()
