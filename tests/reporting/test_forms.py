"""A file in another form than the reader relies on is refused by name, place and remedy."""

import json
from pathlib import Path

import pytest

from multitune.core.errors import RunFolderError
from multitune.core.run_folder import RunFolder
from multitune.reporting.forms import read_data, read_scores, read_table, read_versions


def test_a_file_in_another_form_is_named_with_the_place_in_it(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps({"split": "test", "confidence": "high"}))
    with pytest.raises(RunFolderError, match=rf"scores\.json: damaged.*confidence.*multitune eval {tmp_path}"):
        read_scores(RunFolder(tmp_path))


def test_a_missing_file_says_how_far_the_run_got(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="did not get this far"):
        read_scores(RunFolder(tmp_path))


def test_what_a_newer_version_adds_is_kept(tmp_path: Path) -> None:
    value = {"packages": {"torch": "9"}, "python": "4.0", "planet": "Mars"}
    (tmp_path / "versions.json").write_text(json.dumps(value))
    assert read_versions(RunFolder(tmp_path)) == value


def test_a_run_without_routing_has_no_table(tmp_path: Path) -> None:
    assert read_table(RunFolder(tmp_path)) is None


@pytest.mark.parametrize("value", [[], {"tweets": 3}, {"tweets": {"rows": {"train": "many"}}}])
def test_a_data_record_of_another_form_is_refused(value: object, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps(value))
    with pytest.raises(RunFolderError, match="damaged"):
        read_data(RunFolder(tmp_path))
