"""The workflows are valid, what they run of others is pinned, and a release is audited before it is built."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parent.parent / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*")


def jobs(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))["jobs"]


def runs(job: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_there_are_workflows_for_changes_for_the_site_and_for_releases() -> None:
    assert [file.name for file in FILES] == ["ci.yml", "docs.yml", "release.yml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_workflow_is_valid_and_may_read_alone(file: Path) -> None:
    flow = yaml.safe_load(file.read_text("utf-8"))
    assert flow.keys() >= {"name", True, "permissions", "jobs"}  # YAML reads the key `on` as true
    assert flow["permissions"] == {"contents": "read"}
    for job in flow["jobs"].values():
        assert (
            job["timeout-minutes"]
            and job["runs-on"]
            and all(("run" in one) != ("uses" in one) for one in job["steps"])
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actions_of_others_are_pinned_to_a_commit(file: Path) -> None:
    used = re.findall(r"uses: *(.+)", file.read_text("utf-8"))
    assert used and [one for one in used if not PINNED.fullmatch(one)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_tools_are_installed_by_exact_version(file: Path) -> None:
    installed = re.findall(r"pip install (.+)", file.read_text("utf-8"))
    assert all("==" in package for line in installed for package in line.split())


def test_a_release_is_audited_listed_and_tested_before_it_is_built() -> None:
    build = runs(jobs("release.yml")["build"])
    order = [
        "pip-audit --requirement constraints.txt",
        "cyclonedx-py requirements constraints.txt",
        ".ci/run",
        "hatchling",
    ]
    places = [build.index(part) for part in order]
    assert places == sorted(places)
    uploaded = [
        step["with"] for step in jobs("release.yml")["build"]["steps"] if "upload-artifact" in step.get("uses", "")
    ]
    assert uploaded == [{"name": "dist", "path": "dist/"}, {"name": "sbom", "path": "release/"}]


@pytest.mark.parametrize(("name", "more"), [("release.yml", {}), ("docs.yml", {"pages": "write"})])
def test_only_the_publishing_job_may_prove_who_it_is(name: str, more: dict[str, str]) -> None:
    allowed = {job: fields.get("permissions") for job, fields in jobs(name).items()}
    assert allowed == {"build": None, "publish": {"id-token": "write", **more}}
    assert all("run" not in step for step in jobs(name)["publish"]["steps"])  # nothing of ours runs there


def test_the_site_that_is_published_is_the_one_that_make_builds() -> None:
    steps = jobs("docs.yml")["build"]["steps"]
    config = yaml.safe_load((FOLDER.parents[1] / "mkdocs.yml").read_text("utf-8"))
    assert runs(jobs("docs.yml")["build"]).strip() == "make site"
    assert steps[-1]["with"] == {"path": config["site_dir"]}
