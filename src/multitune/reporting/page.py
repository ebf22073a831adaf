"""One HTML file out of run and study folders, written whole, which needs nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from multitune.core.errors import InputError
from multitune.core.files import write_text
from multitune.core.run_folder import RunFolder
from multitune.core.text import without_controls
from multitune.core.versions import installed
from multitune.reporting.blocks import Part
from multitune.reporting.facts import read_run
from multitune.reporting.formatting import listed, minus
from multitune.reporting.renderers import templates
from multitune.reporting.run_page import run_part
from multitune.reporting.runs_page import comparison_part
from multitune.reporting.study_page import is_study, study_part
from multitune.reporting.task_bars import MOST_OPEN


def write_report(paths: Sequence[Path], output: Path | None = None) -> Path:
    """Write the report of one folder, or of several side by side, and return where it stands.

    Args:
        paths: run folders and study folders.
        output: the file; `report.html` in the first folder when absent.

    Raises:
        RunFolderError: a folder holds neither a run nor a study.
        InputError: the output is a folder.
        StorageError: the file could not be written.
    """
    if output is not None and output.is_dir():
        raise InputError(f"--output {output}: is a folder. Give the name of a file, such as {output / 'report.html'}")
    parts = [
        study_part(path, f"p{place}") if is_study(path) else run_part(path, f"p{place}")
        for place, path in enumerate(paths, start=1)
    ]
    runs = [path for path in paths if not is_study(path)]
    if len(runs) > 1:
        parts.insert(0, comparison_part([read_run(path) for path in runs]))
    target = output or RunFolder(paths[0]).report
    write_text(target, rendered(parts, paths))
    return target


def rendered(parts: Sequence[Part], paths: Sequence[Path]) -> str:
    """The page as text; every value is escaped but for our own style, script and pictures."""
    environment = templates(html=True)
    environment.filters["last_line"] = last_line
    environment.filters["minus"] = minus
    folder = files("multitune.reporting") / "templates"
    script = (folder / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    names = [part.name for part in parts if part.kind != "comparison"]
    page = environment.get_template("page.html.j2").render(
        title=listed(names),
        parts=parts,
        most_open=MOST_OPEN,
        paths=[str(path) for path in paths],
        made=f"{datetime.now().astimezone():%d %B %Y, %H:%M %Z}",
        version=installed("multitune") or "from source",
        style=Markup((folder / "style.css").read_text("utf-8")),  # nosec B704  # our own file
        script=Markup(script),  # nosec B704  # our own file
        script_hash=f"sha256-{digest}",
    )
    return without_controls(page)


def last_line(text: str) -> str:
    """The last line of a prompt that holds words, which is where the row's own text mostly stands."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")[:160]
