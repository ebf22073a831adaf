"""The examples in the docstrings of the face run as they stand: beside `run.yaml`, its finished run and its base."""

import doctest
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import multitune

FINDER = doctest.DocTestFinder(exclude_empty=True)


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a name of the face, and of the methods of a class."""
    shown = getattr(multitune, name)
    globs = {"multitune": multitune, "Path": Path}
    found = FINDER.find(shown, name, module=inspect.getmodule(shown), globs=globs)
    return [test for test in found if test.examples]


@pytest.fixture
def workspace(
    finished: Path, run_fields: dict[str, Any], base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory that the examples speak of."""
    shutil.copytree(finished, tmp_path / "runs" / "tiny")
    shutil.copytree(base_folder, tmp_path / "base")
    fields = {**run_fields, "base": "./base"}
    echo = {"name": "joins", "tasks": [{**run_fields["tasks"][1], "name": "echo"}]}
    study = {"name": "pairs", "run": "run.yaml", "search": "exhaustive", "seeds": [17], "arms_at_once": 4}
    for name, content in (("run", fields), ("joins", echo), ("study", study)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content), "utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("name", sorted(multitune.__all__))
def test_what_the_docstring_shows_is_what_happens(name: str) -> None:
    found = examples(name)
    assert found, f"{name}: its docstring has no example"
    for test in found:
        said: list[str] = []
        failed = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append).failed
        assert failed == 0, "".join(said)
