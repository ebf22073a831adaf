"""Won and lost are counted over every row, and the few that are shown are the ones that differ most."""

import json
from collections import Counter

import pytest

from multitune.core.results.scores import TransferRow
from multitune.core.run_folder import RunFolder
from multitune.reporting.example_comparison import QUOTA, compare_examples, outcome
from multitune.reporting.facts import RunFacts, read_run


@pytest.mark.parametrize(
    ("reference", "together", "what"),
    [
        (0, 1, "won"),
        (1, 0, "lost"),
        (1, 1, "both right"),
        (0, 0, "neither right"),
        (0.4, 0.5, "won"),
        (0.3, 0.3, "neither right"),
    ],
)
def test_an_outcome_is_told_from_two_scores(reference: float, together: float, what: str) -> None:
    assert outcome(reference, together) == what


def scores_of(run: RunFolder, subject: str) -> dict[str, float]:
    rows = map(json.loads, run.predictions(subject, "tweets", "test").read_text("utf-8").splitlines())
    return {row["id"]: row["score"] for row in rows}


def tweets(run: RunFolder, tasks: int = 1) -> tuple[RunFacts, tuple[str, TransferRow]]:
    """The run, and the row of its transfer table that is about tweets."""
    facts = read_run(run.path)
    return facts, facts.rows()[0]


def test_counts_are_over_all_rows_whatever_is_shown(run: RunFolder) -> None:
    facts, row = tweets(run)
    alone, shared = scores_of(run, "tweets"), scores_of(run, "shared")
    found = compare_examples(facts, *row, 50)
    assert found is not None and found.counts == Counter(outcome(alone[id], shared[id]) for id in alone)


def test_of_each_outcome_a_few_are_shown(run: RunFolder) -> None:
    facts, row = tweets(run)
    found = compare_examples(facts, *row, 1)
    assert found is not None
    shown = Counter(example.outcome for example in found.telling)
    assert shown == {what: min(QUOTA[what], n) for what, n in found.counts.items()}


def test_of_many_tasks_fewer_are_shown(run: RunFolder) -> None:
    facts, row = tweets(run)
    few, many = (compare_examples(facts, *row, tasks) for tasks in (100, 1))
    assert few is not None and many is not None and 0 < len(few.telling) < len(many.telling)


def test_an_example_shows_what_every_subject_said_and_was_asked(run: RunFolder) -> None:
    facts, row = tweets(run)
    found = compare_examples(facts, *row, 1)
    assert found is not None
    example = found.telling[0]
    assert [answer.subject for answer in example.answers] == ["shared", "tweets", "base"]
    assert example.prompt == f"Which one?\n\nText {example.id}"


def test_the_largest_change_comes_first(run: RunFolder) -> None:
    path = run.predictions("shared", "tweets", "test")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    alone = scores_of(run, "tweets")
    lost = [row for row in rows if alone[row["id"]] == 0]
    for row in lost:
        row["score"] = 0.25
    lost[-1]["score"] = 0.75
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    facts, row = tweets(run)
    found = compare_examples(facts, *row, 1)
    assert found is not None and found.telling[0].id == lost[-1]["id"]


def test_where_a_subject_said_nothing_there_is_no_comparison_and_a_note(run: RunFolder) -> None:
    run.predictions("tweets", "tweets", "test").unlink()
    facts, row = tweets(run)
    assert compare_examples(facts, *row, 1) is None
    assert facts.missing == ["predictions/tweets/tweets.test.jsonl is missing or empty"]


def test_a_partly_right_answer_keeps_its_score(run: RunFolder) -> None:
    path = run.predictions("shared", "tweets", "test")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row, value in zip(rows, (0.0, 1.0, 0.4), strict=False):
        row["score"] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]), "utf-8")
    facts, row = tweets(run)
    found = compare_examples(facts, *row, 1)
    assert found is not None
    assert {example.answers[0].mark for example in found.telling} == {"✗ not right", "✓ right", "score 0.40"}
