"""Half a run is shown as half a run: what is missing or damaged is named, the rest is there, and nothing fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.core.files import json_lines, read_json, write_json
from multitune.core.run_folder import RunFolder
from multitune.reporting.page import write_report
from tests.reporting.conftest import Page

PARTS = (
    "versions.json",
    "data.json",
    "selection.json",
    "scores.json",
    "events.jsonl",
    "routing/v0001/table.json",
    "routing/v0001/report.json",
    "predictions/shared/tweets.test.jsonl",
)


def missing(page: Page) -> str:
    """What the page says is missing."""
    return page.text.partition("Not everything is there.")[2].partition("Task by task")[0]


def test_a_whole_run_misses_nothing(page: Page) -> None:
    assert "Not everything is there" not in page.text


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_part_is_named_and_the_rest_is_shown(run: RunFolder, name: str) -> None:
    (run.path / name).unlink()
    page = Page(write_report([run.path]))
    assert f"{name} is missing" in missing(page) and "How it was made" in page.text


@pytest.mark.parametrize("name", [*PARTS[:4], *PARTS[5:7], "config.yaml"])
def test_a_damaged_part_is_named_and_the_rest_is_shown(run: RunFolder, name: str) -> None:
    path = run.path / name
    path.write_text('{"tasks": [' + path.read_text("utf-8")[:40], "utf-8")
    page = Page(write_report([run.path]))
    assert f"{name} is damaged" in missing(page) and "How it was made" in page.text


@pytest.mark.parametrize("name", ["scores.json", "data.json", "versions.json", "selection.json"])
def test_a_part_that_was_changed_is_named(run: RunFolder, name: str) -> None:
    write_json(run.path / name, read_json(run.path / name))  # sealed
    text = (run.path / name).read_text("utf-8")
    place = text.rindex('"', 0, text.index('"seal"')) - 1
    (run.path / name).write_text(text[:place] + "x" + text[place:], "utf-8")
    assert f"{name} is damaged" in missing(Page(write_report([run.path])))


@pytest.mark.parametrize("value", [[], None])
def test_a_part_that_holds_something_else_is_named(run: RunFolder, value: Any) -> None:
    run.scores.write_text(json.dumps(value))
    assert "scores.json is damaged" in missing(Page(write_report([run.path])))


def changed(run: RunFolder, path: Path, change: Callable[[dict[str, Any]], Any]) -> Page:
    value = read_json(path)
    change(value)
    write_json(path, value)
    return Page(write_report([run.path]))


def test_scores_of_a_newer_form_are_noted_and_the_curves_still_shown(run: RunFolder) -> None:
    page = changed(run, run.scores, lambda scores: scores.update(transfer={"shared": {"rows": []}}))
    assert "scores.json is damaged" in missing(page) and "How it learned" in page.text


def test_fields_of_a_newer_version_are_passed_over(run: RunFolder) -> None:
    page = changed(run, run.scores, lambda scores: scores.update(certificate={"level": 7}))
    assert "Not everything is there" not in page.text


@pytest.mark.parametrize("key", ["transfer", "tasks", "general", "retention", "confidence"])
@pytest.mark.parametrize("value", [None, 3, {"shared": None}])
def test_no_value_in_the_scores_makes_the_page_fail(run: RunFolder, key: str, value: Any) -> None:
    assert "How it was made" in changed(run, run.scores, lambda scores: scores.update({key: value})).text


@pytest.mark.parametrize(
    ("name", "key"), [("table", "tasks"), ("table", "cost"), ("report", "views"), ("report", "tasks")]
)
@pytest.mark.parametrize("value", [3, {"tweets": None}])
def test_no_value_in_the_routing_makes_the_page_fail(run: RunFolder, name: str, key: str, value: Any) -> None:
    path = run.routing_versions[-1] / f"{name}.json"
    assert "How it was made" in changed(run, path, lambda found: found.update({key: value})).text


def test_a_line_that_was_cut_off_is_counted_and_the_others_are_read(run: RunFolder) -> None:
    text = run.events.read_text("utf-8")
    run.events.write_text(text[: len(text) - 30], "utf-8")
    page = Page(write_report([run.path]))
    assert "events.jsonl: 1 damaged line" in missing(page) and "How it learned" in page.text


def test_a_run_that_was_just_started_has_a_page(run: RunFolder) -> None:
    for path in sorted(run.path.rglob("*"), reverse=True):
        if path != run.config:
            path.rmdir() if path.is_dir() else path.unlink()
    text = Page(write_report([run.path])).text
    assert "Nothing was measured yet" in text and "scores.json is missing" in text


def test_a_version_that_add_wrote_measures_no_router(run: RunFolder) -> None:
    change = {"added": "legal", "removed": None, "version": "v0001", "files": 9, "files_changed": []}
    change |= {"logits_changed": [], "routes_changed": {"tweets": 0.25}, "accuracy": {"prompt": 0.9}}
    change |= {"scores": {"tweets": {"before": 0.5, "after": 0.625}}, "schema_version": 2}
    (run.routing_versions[-1] / "report.json").unlink()
    write_json(run.routing_versions[-1] / "change.json", change)
    page = Page(write_report([run.path]))
    assert "came from adding or removing a task" in missing(page)
    assert page.table("Choices on validation rows")[0]["ships with"] == "shared"
    assert page.table("What adding legal did")[0]["after"] == "0.625"


def test_damaged_predictions_are_counted(run: RunFolder) -> None:
    path = run.predictions("shared", "tweets", "test")
    path.write_text("not json\n" + path.read_text("utf-8"), "utf-8")
    page = Page(write_report([run.path]))
    assert "predictions for tweets: 1 damaged line" in missing(page)
    assert page.table("Rows won and lost")[0]["rows"] == "40"


def test_lines_of_a_file_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert list(json_lines(tmp_path / "none.jsonl")) == []


def test_a_line_that_holds_no_object_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text('{"a": 1}\n[2]\n\x00\n' + json.dumps({"b": 2}) + "\n", "utf-8")
    assert list(json_lines(path)) == [{"a": 1}, None, None, {"b": 2}]
