"""The page of a real study, tiny as it is, misses nothing and says what the findings say."""

from pathlib import Path

from multitune.core.files import read_json
from multitune.reporting.page import write_report
from multitune.study.study import run_study
from tests.reporting.conftest import Page
from tests.study.conftest import Study


def test_a_finished_study_has_a_page_that_misses_nothing(study: Study, study_folder: Path) -> None:
    settings, run = study(search="exhaustive", groups={"start": ["first", "also_first"]})
    run_study(settings, run)
    folder = study_folder / "studies" / "study"
    page = Page(write_report([folder]))
    found = read_json(folder / "findings.json")
    assert found["sentence"] in page.text and "cannot be shown" not in page.text
    assert len(page.table(f"{len(found['arms'])} arms")) == len(found["arms"])
    absent = [key for key, value in found.items() if not value]
    named = page.text.partition("Not everything is there.")[2].partition("How it was made")[0]
    assert all(f"({key}) is not there" in named for key in absent if key in ("synergy", "helps"))
