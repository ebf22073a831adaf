"""Results are typed documents: one that cannot be read says which file, where in it, and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from multitune.core.errors import RunFolderError
from multitune.core.results.comparison import ModelComparison
from multitune.core.results.routing import RouterReport, TaskChange
from multitune.core.results.run import DataRecord, Selection, Versions
from multitune.core.results.scores import Scores
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


def test_a_damaged_file_is_named_with_the_place_in_it_and_the_command_that_writes_it_again(tmp_path: Path) -> None:
    file = written(tmp_path / "scores.json", {"split": "test", "confidence": "high"})
    with pytest.raises(RunFolderError, match=r"scores\.json: damaged: confidence.*Write it again: multitune eval RUN"):
        Scores.read(file)


def test_a_missing_file_says_how_far_the_run_got(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="did not get this far"):
        Scores.read(tmp_path / "scores.json")


def test_a_file_of_a_newer_multitune_says_so_and_nothing_else(tmp_path: Path) -> None:
    file = written(tmp_path / "versions.json", {"schema_version": 99, "galaxy": "far"})
    with pytest.raises(RunFolderError, match=r"written by a newer multitune \(schema 99; this one reads up to 1\)"):
        Versions.read(file)


def test_a_field_that_this_version_does_not_know_is_passed_over(tmp_path: Path) -> None:
    file = written(tmp_path / "versions.json", {"packages": {"torch": "9"}, "python": "4.0", "planet": "Mars"})
    assert Versions.read(file).python == "4.0"


def test_a_document_is_the_same_after_a_trip_to_the_disk(tmp_path: Path) -> None:
    document = Versions(packages={"torch": None}, python="3.11")
    document.write(tmp_path / "versions.json")
    assert Versions.read(tmp_path / "versions.json") == document


@pytest.mark.parametrize("value", [[], {"tweets": 3}, {"tweets": {"rows": {"train": "many"}}}])
def test_a_data_record_of_another_form_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="damaged"):
        DataRecord.read(written(tmp_path / "data.json", value))


def test_a_run_without_routing_has_no_version(tmp_path: Path) -> None:
    assert read_version(RunFolder(tmp_path)) is None


# What runs of before wrote.


def test_sets_and_selections_of_before_stood_at_the_top() -> None:
    one = {"digests": {"train": "0"}, "rows": {"train": 3}, "too_long": {"train": []}}
    assert DataRecord.parse({"tweets": one}, "data.json").sets["tweets"].rows == {"train": 3}
    kept = {"chosen": 4, "by": "mean", "best": {"mean": {"step": 4, "value": 0.5}}}
    assert Selection.parse({"shared": kept}, "selection.json").adapters["shared"].chosen == 4


QUALITY = {"accuracy": 0.9, "same_adapter": 1.0, "turned_away": 0.04, "calibration_error": 0.1, "confusion": [[3]]}


def test_a_router_report_of_before_said_turned_away_and_rivals() -> None:
    uniform = {"adapters": ["a", "b"], "scores": {"t": 0.5}}
    value: dict[str, Any] = {"router": "discriminant", "features": "f", "rows": "test", "views": {"prompt": QUALITY}}
    value |= {"kinds": {}, "general": {}, "left_out": {}, "tasks": {}, "rivals": {"uniform": uniform, "arrow": None}}
    report = RouterReport.parse(value, "report.json")
    assert report.views["prompt"].abstained == 0.04 and report.baselines.compared == ("uniform", "arrow")
    assert report.baselines.uniform and report.baselines.uniform.scores == {"t": 0.5}


def test_a_change_of_before_stood_beside_its_views() -> None:
    change = {"added": "hues", "removed": None, "version": "v0002", "files": 3, "files_changed": []}
    change |= {"logits_changed": [], "routes_changed": {}, "scores": {}, "accuracy": {"prompt": 0.9}, "choice": {}}
    found = TaskChange.parse({"change": change, "views": {"prompt": QUALITY}}, "report.json")
    assert found.added == "hues" and found.choice is None and found.views["prompt"].abstained == 0.04


def test_a_comparison_of_before_said_readings_and_unread() -> None:
    value = {"against": "openai:m", "subject": "m", "split": "test", "confidence": 0.95, "resamples": 100, "ours": {}}
    value |= {"readings": {"strict": {"tasks": [], "unread": {"t": {"ours": 1, "theirs": 2}}}}}
    value |= {"api_base": "http://localhost", "model": "m", "prompt_tokens": 3, "answer_tokens": 4}
    found = ModelComparison.parse(value, "m.json")
    assert found.parsing["strict"].unparsed["t"].theirs == 2 and found.usage and found.usage.prompt_tokens == 3
