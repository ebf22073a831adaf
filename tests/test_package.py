"""What a user installs: the package with its types, recipes and templates, and nothing of our workshop."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_the_wheel_says_that_it_is_typed(wheel: set[str]) -> None:
    assert "multitune/py.typed" in wheel


def test_the_wheel_holds_every_file_of_the_package(wheel: set[str]) -> None:
    package = ROOT / "src" / "multitune"
    tracked = subprocess.run(["git", "ls-files", "."], cwd=package, capture_output=True, text=True, check=False).stdout
    names = tracked.split() or [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    assert {f"multitune/{name}" for name in names if (package / name).exists()} - wheel == set()


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    assert {name.partition("/")[0] for name in wheel} == {"multitune", "multitune-0.1.0.dist-info"}
