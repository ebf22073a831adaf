"""What a user installs: the package with its types, task and chat templates; and one version in all places."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import multitune

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    """Names of the files in the wheel."""
    (file,) = built.glob("*.whl")
    return set(zipfile.ZipFile(file).namelist())


def test_the_wheel_says_that_it_is_typed(wheel: set[str]) -> None:
    assert "multitune/py.typed" in wheel


def test_the_wheel_holds_every_file_of_the_package(wheel: set[str]) -> None:
    package = ROOT / "src" / "multitune"
    tracked = subprocess.run(["git", "ls-files", "."], cwd=package, capture_output=True, text=True, check=False).stdout
    names = tracked.split() or [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    assert {f"multitune/{name}" for name in names if (package / name).exists()} - wheel == set()


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    assert {name.partition("/")[0] for name in wheel} == {"multitune", "multitune-0.1.0.dist-info"}


def test_the_source_archive_holds_what_its_makefile_needs(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "pyproject.toml", "scripts/constraints.py", "benchmarks/made_runs.py"}
    assert needed | {"tests/conftest.py", "examples/team/team.yaml", "LICENSE", "CITATION.cff"} <= names
    assert not any(name.startswith((".venv", "runs/", ".hypothesis")) for name in names)


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    found = {project["version"], citation["version"], multitune.__version__, newest[1]}
    assert found == {project["version"]} and citation["license"] == project["license"]


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda file: file.name)
def test_what_github_reads_is_yaml_and_names_what_is_there(file: Path) -> None:
    text = file.read_text("utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"run: make ([a-z-]+)", text)) <= set(targets)
    assert all((ROOT / path).is_file() for path in re.findall(r"run: (\.\S+)", text))
