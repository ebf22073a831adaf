"""The tour of the code: its snippets run in order as a reader pastes them, and print what stands behind them."""

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.made_runs import made_run
from multitune import Task, load_config

ROOT = Path(__file__).parent.parent
TOUR = (ROOT / "docs" / "tour.md").read_text("utf-8")
UNTRAINED, TRAINED = TOUR.split("\n## 9. ")
SNIPPET = re.compile(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)


def printed(code: str, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/tour.md", "exec"), names)
    return out.getvalue()


def test_every_snippet_says_what_it_prints() -> None:
    assert TOUR.count("```python\n") == len(SNIPPET.findall(TOUR)) == 13


def test_what_needs_no_training_prints_what_the_tour_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for code, expected in SNIPPET.findall(UNTRAINED):
        assert printed(code, names) == expected


def test_what_reads_a_run_folder_runs_on_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made_run(tmp_path / "runs" / "demo", tasks=4)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"Path": Path, "Task": Task, "config": load_config(folder.config)}
    assert [len(printed(code, names).splitlines()) for code, _ in SNIPPET.findall(TRAINED)] == [4, 4, 4]


def test_a_snippet_can_be_pasted_line_by_line() -> None:
    """An interactive prompt ends a block at a blank line, and needs one behind it."""
    for code, _ in SNIPPET.findall(TOUR):
        for node in ast.parse(code).body:
            lines = code.splitlines()[node.lineno - 1 : node.end_lineno]
            assert all(line.strip() for line in lines)
            if isinstance(node, ast.For) and node.end_lineno != len(code.splitlines()):
                assert not code.splitlines()[node.end_lineno or 0].strip()
