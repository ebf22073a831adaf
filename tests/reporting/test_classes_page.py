"""Classify tasks label by label: what the page counts is what scikit-learn counts of the run's predictions."""

import json
from collections import Counter
from typing import Any

import pytest
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from multitune.core.files import read_json, write_json
from multitune.core.run_folder import RunFolder
from multitune.reporting.classes_page import classes_section
from multitune.reporting.facts import read_run
from multitune.reporting.formatting import score
from multitune.reporting.page import write_report
from tests.reporting.conftest import Page


def answers(run: RunFolder, subject: str, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.predictions(subject, task, "test").read_text("utf-8").splitlines()]


def rewritten(run: RunFolder, subject: str, task: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    run.predictions(subject, task, "test").write_text(text, "utf-8")


def test_each_label_has_its_rows_and_scores(page: Page, run: RunFolder) -> None:
    rows = answers(run, "shared", "tweets")
    golds, values = [row["gold"] for row in rows], [row["value"] for row in rows]
    table = page.table("Every label of tweets")
    assert [row["label"] for row in table] == [label for label, _ in Counter(golds).most_common()]
    for row in table:
        one = [row["label"]]
        assert row["n"] == str(golds.count(row["label"]))
        assert row["F1 together"] == score(f1_score(golds, values, labels=one, average="macro"))
        assert row["recall"] == score(recall_score(golds, values, labels=one, average="macro"))


def test_the_confusion_counts_every_answer_of_the_main_adapter(page: Page, run: RunFolder) -> None:
    rows = answers(run, "shared", "tweets")
    table = page.table("tweets: right label (row)")
    labels = [row["label"] for row in table]
    expected = confusion_matrix([row["gold"] for row in rows], [row["value"] for row in rows], labels=labels)
    assert [[int(row[label]) for label in labels] for row in table] == expected.tolist()


def test_an_answer_that_is_no_label_has_a_column_of_its_own(run: RunFolder) -> None:
    rows = answers(run, "shared", "tweets")
    rewritten(run, "shared", "tweets", [{**rows[0], "value": None, "score": 0.0}, *rows[1:]])
    table = Page(write_report([run.path])).table("tweets: right label (row)")
    assert sum(int(row["(no label)"].replace("–", "0")) for row in table) == 1


def test_of_many_labels_the_commonest_confusions_are_listed(run: RunFolder) -> None:
    rows = answers(run, "shared", "tweets")
    many = [{**row, "gold": f"label {place % 13}", "value": "label 0"} for place, row in enumerate(rows)]
    rewritten(run, "shared", "tweets", many)
    page = Page(write_report([run.path]))
    table = page.table("The commonest confusions")
    assert len(table) == 12 and {row["answer of shared"] for row in table} == {"label 0"}
    assert table[0]["of that label"] == "100%"


def test_training_rows_of_each_label_are_shown_where_the_run_kept_them(run: RunFolder) -> None:
    counts = [{"label": "bullish", "rows": {"train": 61, "validation": 9, "test": 12}}]
    data = read_json(run.data)
    data["tweets"]["label_counts"] = counts
    write_json(run.data, data)
    page = Page(write_report([run.path]))
    assert {row["label"]: row["train rows"] for row in page.table("Every label of tweets")} == {
        "bullish": "61", "bearish": "–", "neutral": "–"
    }  # fmt: skip
    assert "61" not in {row["train rows"] for row in page.table("Every label of entities")}


@pytest.mark.parametrize("kind", ["generate", "tag"])
def test_tasks_without_labels_have_no_such_part(run: RunFolder, kind: str) -> None:
    scores = read_json(run.scores)
    for task in scores["tasks"].values():
        task["kind"] = kind
    write_json(run.scores, scores)
    assert classes_section(read_run(run.path), "p1") is None


def test_missing_predictions_leave_the_part_out(run: RunFolder) -> None:
    for path in run.path.glob("predictions/shared/*.jsonl"):
        path.unlink()
    assert classes_section(read_run(run.path), "p1") is None
