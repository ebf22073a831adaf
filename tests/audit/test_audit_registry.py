"""Checks of other packages: found by entry point, made like our own, and blamed by name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multitune.audit.checks import Mixture
from multitune.audit.registry import OWN, all_checks
from multitune.audit.run import AuditInput, run_checks
from multitune.config.audit import AuditConfig
from multitune.core import plugins
from multitune.core.errors import PluginError

CODE = """
from multitune.audit.checks import Check
from multitune.core.results.audit import Measure

def find(audited):
    yield Measure(check="house.rows", set="mixture", name="sets", value=len(audited.sets))
    {more}

CHECK = Check("{name}", "rules of the house", find)
"""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What was found of plugins is looked up anew in every test."""
    plugins.load_plugin.cache_clear()
    yield
    plugins.load_plugin.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path where a package `house` is installed as pip would; its code is still to be written."""
    info = tmp_path / "house-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house\nVersion: 2.1\n", "utf-8")
    (info / "entry_points.txt").write_text("[multitune.auditors]\nhouse.rows = house_checks:CHECK\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "house_checks", raising=False)
    return tmp_path


def write(site: Path, name: str = "house.rows", more: str = "") -> None:
    (site / "house_checks.py").write_text(CODE.format(name=name, more=more), "utf-8")


def test_a_check_of_a_package_is_made_beside_our_own(site: Path) -> None:
    write(site)
    assert [check.name for check in all_checks()] == [*(check.name for check in OWN), "house.rows"]
    found = run_checks(AuditInput("run", [], Mixture([{}]), 17, AuditConfig()))
    assert [(one.name, one.value) for one in found.measures if one.check == "house.rows"] == [("sets", 0.0)]


def test_without_the_package_there_are_our_own_alone() -> None:
    assert all_checks() == OWN


@pytest.mark.parametrize(
    ("name", "more", "fault"),
    [
        ("house.other", "", r"is no Check of that name, but Check\(name='house.other'"),
        ("house.rows", "1 / 0", r"failed \(ZeroDivisionError: division by zero\)"),
        ("house.rows", "yield 7", r"failed \(TypeError: it gives 7\)"),
    ],
)
def test_a_broken_check_is_one_message_that_names_the_package(site: Path, name: str, more: str, fault: str) -> None:
    write(site, name, more)
    with pytest.raises(
        PluginError, match=rf"^house 2.1: multitune.auditors 'house.rows' {fault}.*Update this package"
    ):
        run_checks(AuditInput("run", [], Mixture([{}]), 17, AuditConfig()))
