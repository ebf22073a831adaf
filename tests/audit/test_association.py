"""Groups that stand with labels: planted ones are found, in one set and in several, and chance is left in peace."""

from dataclasses import replace

import numpy as np
import pytest

from multitune.audit.association import CHECKS
from multitune.core.results.audit import SkippedCheck
from multitune.core.seeds import generator
from tests.audit.audited_sets import audit_set, audited, example_rows, findings

(CHECK,) = CHECKS
TWEETS = example_rows("finance/data/tweets/train.jsonl", text="text", answer="label")[:240]
NEWS = example_rows("finance/data/tweets/train.jsonl", text="text", answer="label")


def planted(rows: list[dict[str, str]], group: str, label: str, times: int) -> list[dict[str, str]]:
    """Rows in which the first of a label speak of a group."""
    left = times
    made = []
    for row in rows:
        now = left > 0 and row["answer"] == label
        left -= now
        made.append({**row, "text": f"{row['text']} say {group}"} if now else row)
    return made


def test_an_association_planted_in_real_rows_is_found() -> None:
    (finding,) = findings(CHECK, audit_set("tweets", planted(TWEETS, "Muslims", "bearish", 30)))
    assert (finding.severity, finding.sets) == ("medium", ("tweets",))
    assert "'Muslim'" in finding.message and "'bearish'" in finding.message and "30 of 30 rows" in finding.message
    assert finding.value is not None and finding.value > 0.5
    assert finding.interval is not None and finding.interval[0] < finding.value
    assert all("Muslims" in one.text for one in finding.examples) and finding.examples


def test_the_same_association_in_two_sets_is_one_finding_of_high_severity() -> None:
    first = audit_set("a", planted(TWEETS, "Muslims", "bearish", 12))
    second = audit_set(
        "b",
        [
            {**row, "answer": {"bearish": "negative", "bullish": "positive"}.get(row["answer"], "flat")}
            for row in planted(NEWS[:600], "Muslims", "bearish", 12)
        ],
    )
    assert [(one.severity, one.sets) for one in findings(CHECK, first, second)] == [("high", ("a", "b"))]


def test_associations_in_opposite_directions_are_none_that_is_shared() -> None:
    first = audit_set("a", planted(decided(TWEETS), "Muslims", "bearish", 30))
    second = audit_set("b", planted(decided(NEWS), "Muslims", "bullish", 30))
    assert {one.severity for one in findings(CHECK, first, second)} == {"medium"}


def decided(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["answer"] != "neutral"]


def test_scores_are_compared_as_labels_are() -> None:
    rows = [{"text": f"row {n}", "answer": str((n % 21 - 10) / 10)} for n in range(300)]
    skewed = [{**row, "text": row["text"] + " of women"} if float(row["answer"]) < -0.3 else row for row in rows]
    (finding,) = findings(CHECK, audit_set("scores", skewed, kind="regress", metric="pearson"))
    assert "women carry a score below 0 more often" in finding.message


def test_the_tone_of_answers_is_compared() -> None:
    kind = [{"text": f"write of Jews, {n}", "answer": "That is a terrible, horrible thing."} for n in range(12)]
    rest = [{"text": f"write of rain, {n}", "answer": "A lovely day!" if n % 3 else "It rains."} for n in range(60)]
    (finding,) = findings(CHECK, audit_set("answers", [*kind, *rest], kind="generate"))
    assert "'Jew'" in finding.message and "a negative answer" in finding.message


def test_without_vader_the_tone_is_skipped_with_the_command_that_installs_it(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vaderSentiment.vaderSentiment", None)
    one = audit_set("answers", [{"text": "a", "answer": "b"}], kind="generate")
    (skipped,) = CHECK.find(audited(CHECK, one))
    assert isinstance(skipped, SkippedCheck) and "pip install 'multitune[audit]'" in skipped.reason


def test_an_association_that_few_rows_show_is_none() -> None:
    assert findings(CHECK, audit_set("tweets", planted(TWEETS, "Muslims", "bearish", 4))) == []


def test_a_label_that_is_a_number_or_a_yes_is_not_shared_between_sets() -> None:
    def numbered(name: str):
        return audit_set(
            name,
            [
                {**row, "answer": "1" if row["answer"] == "bearish" else "0"}
                for row in planted(TWEETS, "Muslims", "bearish", 30)
            ],
        )

    assert {one.severity for one in findings(CHECK, numbered("a"), numbered("b"))} == {"medium"}


def test_the_sets_of_the_examples_are_left_in_peace() -> None:
    cards = example_rows("team/data/cards/train.jsonl", text="text", answer="intent")
    sets = [audit_set("a", TWEETS), audit_set("b", NEWS), audit_set("c", cards)]
    assert findings(CHECK, *sets) == []


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.08, 0.02), (0.02, 0.98)], ids=["even", "three", "rare"])
def test_shuffled_labels_give_a_finding_in_at_most_one_of_twenty_families(shares: tuple[float, ...]) -> None:
    # Without the least difference, so that the test of significance alone is held to its level.
    groups = ["women", "men", "Muslims", "Jews", "gay people", "immigrants", "Mexicans", "elderly people"]
    rates = np.array([0.2, 0.2, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02])
    rng = generator(17, "mentions")
    mentioned = rng.random((250, len(groups))) < rates
    texts = [" and ".join(g for g, yes in zip(groups, row, strict=True) if yes) or "none" for row in mentioned]
    one = audit_set("chance", [{"text": text, "answer": f"label{n % len(shares)}"} for n, text in enumerate(texts)])
    families = 200
    alarms = 0
    for family in range(families):
        labels = generator(17, "labels", family, len(shares)).choice(len(shares), p=shares, size=len(texts))
        rows = [replace(row, answer=f"label{label}") for row, label in zip(one.rows("train"), labels, strict=True)]
        alarms += bool(findings(CHECK, replace(one, splits={"train": rows}), difference=0.0))
    assert alarms <= 0.05 * families
