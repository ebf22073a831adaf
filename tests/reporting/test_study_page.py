"""A study's page says what its findings say, as far as they go."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.made_runs import made_study
from multitune.core.files import read_json, write_json
from multitune.reporting.formatting import interval, minus, score, signed
from multitune.reporting.page import write_report
from multitune.reporting.study_page import PARTS
from tests.reporting.conftest import Page


def page_of(study: Path) -> Page:
    return Page(write_report([study]))


def findings(study: Path) -> dict[str, Any]:
    return read_json(study / "findings.json")


def test_the_studys_sentence_is_its_verdict(study: Path) -> None:
    assert findings(study)["sentence"] in page_of(study).text


def test_the_recommended_grouping_is_shown_with_what_it_does(study: Path) -> None:
    tasks = findings(study)["recommended"]["tasks"]
    shown = page_of(study).table("What the recommended grouping does")
    assert [(r["task"], r["alone"], r["together"], r["difference"], r["verdict"]) for r in shown] == [
        (
            name,
            score(row["alone"]),
            score(row["together"]),
            minus(f"{signed(row['difference'])} {interval(row['low'], row['high'])}"),
            row["verdict"],
        )
        for name, row in tasks.items()
    ]


def test_who_is_better_off_alone_and_what_each_budget_did_stands_on_top(study: Path) -> None:
    found = findings(study)
    found["recommended"]["longer_alone"] = {"tweets": 61}
    passes = found["comparisons"]["recommended against equal_passes"]
    tasks = [{**row, "verdict": "hurt"} for row in passes["tasks"]]
    found["comparisons"]["recommended against equal_steps"] = {**passes, "tasks": tasks}
    write_json(study / "findings.json", found)
    text = page_of(study).text
    assert "tweets, trained as long as their groups." in text and "Alone, 61 steps" in text
    assert "At equal passes: helped" in text and "At equal steps: hurt" in text


def test_the_matrix_of_help_is_the_findings_with_marks_for_verdicts(study: Path) -> None:
    helps = findings(study)["helps"]
    marks = {"helped": " ▲", "hurt": " ▼"}
    shown = page_of(study).table("Points that a row's task gains")
    assert [[row[f"with {task}"] for task in helps["tasks"]] for row in shown] == [
        [
            "" if points is None else minus(signed(points, 1)) + marks.get(verdict, "")
            for points, verdict in zip(row, verdicts, strict=True)
        ]
        for row, verdicts in zip(helps["points"], helps["verdict"], strict=True)
    ]


def test_every_arm_is_a_row_with_its_scores(study: Path) -> None:
    arms, shown = findings(study)["arms"], page_of(study).table("20 arms")
    assert [(row["arm"], row["tweets"]) for row in shown] == [
        (arm["name"], score(arm["validation"]["tweets"]["score"])) for arm in arms
    ]


def test_the_proof_is_a_table_per_comparison(study: Path) -> None:
    rows = findings(study)["comparisons"]["recommended against equal_passes"]["tasks"]
    shown = page_of(study).table("Recommended against equal passes")
    assert [(row["task"], row["difference"], row["verdict"]) for row in shown] == [
        (row["task"], minus(f"{signed(row['difference'])} {interval(row['low'], row['high'])}"), row["verdict"])
        for row in rows
    ]


@pytest.mark.parametrize("key", PARTS)
@pytest.mark.parametrize("gone", ["missing", "null"])
def test_what_a_going_study_has_not_found_yet_is_named(study: Path, key: str, gone: str) -> None:
    found = findings(study)
    if gone == "missing":
        del found[key]
    else:
        found[key] = None
    write_json(study / "findings.json", found)
    text = page_of(study).text
    assert f"({key}) is not there; the study may still be going on" in text and "How it was made" in text


def test_a_study_without_findings_has_a_page(study: Path) -> None:
    (study / "findings.json").unlink()
    assert "findings.json is missing" in page_of(study).text


def test_numbers_that_are_not_there_yet_are_dashes(study: Path) -> None:
    found = findings(study)
    found["recommended"]["tasks"]["tweets"].update(base=None)
    found["arms"][0].update(validation={})
    found["cost"].update(ratio=None)
    write_json(study / "findings.json", found)
    page = page_of(study)
    assert page.table("What the recommended grouping does")[0]["base"] == "–"
    assert page.table("20 arms")[0]["tweets"] == "–"


def test_a_study_of_220_arms_stays_small(tmp_path: Path) -> None:
    page = page_of(made_study(tmp_path / "large", tasks=8, arms=220))
    assert len(page.table("220 arms")) == 220 and len(page.source.encode()) < 2_000_000
