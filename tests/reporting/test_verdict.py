"""The sentences, figures and bars on top follow from the scores, and warn where they should."""

from collections.abc import Mapping
from typing import Any

import pytest

from multitune.core.files import read_json, write_json
from multitune.core.run_folder import RunFolder
from multitune.reporting.blocks import KeyFigure
from multitune.reporting.facts import RunFacts, read_run
from multitune.reporting.key_figures import key_figures
from multitune.reporting.task_bars import task_bars
from multitune.reporting.training_curves import curves, spent
from multitune.reporting.verdict import budget, shipping, still_falling, verdict


def with_rows(run: RunFolder, **fields: Any) -> RunFacts:
    """The run with the same fields changed in every row of its transfer table."""
    scores = read_json(run.scores)
    for row in scores["transfer"]["shared"]["tasks"]:
        row.update(fields)
    write_json(run.scores, scores)
    return read_run(run.path)


def changed(facts: RunFacts, **fields: Any) -> None:
    """Another summary of the shared adapter's table."""
    assert facts.scores
    table = facts.scores.transfer["shared"]
    summary = table.summary.model_copy(update=fields)
    facts.scores.transfer["shared"] = table.model_copy(update={"summary": summary})


def figures(facts: RunFacts) -> Mapping[str, KeyFigure]:
    return {figure.question: figure for figure in key_figures(facts)}


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("ahead in this run", "one model against 3: ahead on tweets, entities and reports, behind on none."),
        ("behind in this run", "one model is not enough: behind on tweets, entities and reports."),
        (
            "cannot tell",
            "nothing tells one model from 3 apart: no task is ahead or behind by more than chance explains.",
        ),
    ],
)
def test_one_sentence_says_whether_one_model_is_enough(run: RunFolder, outcome: str, words: str) -> None:
    assert verdict(with_rows(run, verdict=outcome)) == f"In this run {words}"


def test_of_several_seeds_the_sentence_says_helped_and_hurt(run: RunFolder) -> None:
    facts = with_rows(run, verdict="helped", seeds=3)
    assert verdict(facts) == "One model against 3: helped tweets, entities and reports, hurt none."
    assert figures(facts)["What did it gain?"].line.partition("; +")[0].endswith("helped tweets, entities and reports")


def test_one_model_is_enough_only_where_a_loss_is_ruled_out_on_every_task(run: RunFolder) -> None:
    tasks = ("tweets", "entities", "reports")
    facts = with_rows(run, verdict="cannot tell", margin=0.02, worst=-0.01)
    facts.scores = facts.scores and facts.scores.model_copy(deep=True)
    changed(facts, margin=0.02, no_worse=tasks)
    assert verdict(facts) == (
        "In this run one model is enough for all 3 tasks: a loss of 2 points is ruled out on each."
    )
    assert figures(facts)["What did it lose?"].line.startswith("behind on none; a loss of 2 points is ruled out")
    changed(facts, margin=0.02, no_worse=tasks[:2])
    assert "is enough" not in verdict(facts)


def test_where_nothing_shows_a_gain_the_figure_names_no_task(run: RunFolder) -> None:
    found = figures(with_rows(run, verdict="cannot tell", low=-0.083))
    assert "no single task beyond chance" in found["What did it gain?"].line
    assert found["What did it lose?"].value == "0 of 3 tasks"
    assert "may have lost up to 8.3 points" in found["What did it lose?"].line


def test_a_mean_beyond_chance_is_told_where_no_single_task_is(run: RunFolder) -> None:
    def gain(low: float, high: float = 9.0) -> KeyFigure:
        facts = with_rows(run, verdict="cannot tell")
        changed(facts, mean_points=5.0, points_low=low, points_high=high)
        return figures(facts)["What did it gain?"]

    sure, open, lost = gain(1.0), gain(-1.0), gain(-9.0, -1.0)
    assert (sure.value, sure.tone) == ("+5.0 points", "helped")
    beyond, _, over_base = sure.line.rpartition("; ")
    assert beyond == "mean of 3 tasks against alone [+1.0, +9.0]; no single task beyond chance, but their mean"
    assert over_base == "+14.8 against the base"
    assert open.tone == "unsure" and open.line.endswith(f"no single task beyond chance; {over_base}")
    assert lost.tone == "hurt"


def test_a_run_of_before_without_an_interval_of_the_mean_can_still_be_read(run: RunFolder) -> None:
    facts = read_run(run.path)
    changed(facts, points_low=None, points_high=None)
    assert figures(facts)["What did it gain?"].line.startswith("mean of 3 tasks against alone; ahead on tweets; ")


def test_a_base_that_was_not_measured_is_not_compared_with(run: RunFolder) -> None:
    assert "against the base" not in figures(with_rows(run, base=None))["What did it gain?"].line


def test_what_was_lost_is_counted_and_named(run: RunFolder) -> None:
    facts = read_run(run.path)
    (lost,) = [row for _, row in facts.rows() if row.task == "entities"]
    found = figures(facts)["What did it lose?"]
    assert (found.value, found.tone) == ("1 of 3 tasks", "hurt")
    assert found.line.startswith(f"behind on entities (−{-100 * lost.difference:.1f})")
    assert found.line.endswith("of what the base knew, arithmetic got worse")


def test_what_ships_is_the_routing_table(run: RunFolder) -> None:
    facts = with_rows(run, examples=1000)
    assert (
        shipping(facts)
        == "Ship shared for tweets and reports; its own adapter for entities. Too few rows to ship on: entities."
    )
    cost = figures(facts)["What does it cost?"]
    assert cost.value == "35%" and cost.line.endswith("one backbone with 2 adapters")


def test_too_few_test_rows_to_ship_on_are_told_of_each_task(run: RunFolder) -> None:
    facts = with_rows(run, examples=12)
    assert shipping(facts) == (
        "Too few rows to ship on yet. Chosen so far: shared for tweets and reports; its own adapter for entities."
    )
    notes = {one.task: one.notes for one in task_bars(facts)}
    assert "too few rows to ship on (12 test)" in notes["tweets"]
    assert "too few rows to ship on (30 validation, 12 test)" in notes["entities"]
    enough = {one.task: one.notes for one in task_bars(with_rows(run, examples=100))}
    assert enough["tweets"] == ["ships with shared"]


def test_where_nothing_was_chosen_the_figure_says_how(run: RunFolder) -> None:
    facts = read_run(run.path)
    facts.routing = None
    cost = figures(facts)["What does it cost?"]
    assert cost.value == "–" and f"multitune select {run.path}" in cost.line and shipping(facts) == ""


def test_the_evidence_is_the_fewest_rows_and_the_seeds(run: RunFolder) -> None:
    one = figures(with_rows(run, examples=250))["How sure is that?"]
    assert one.value == "250 rows, 1 seed" and "p adjusted for 3; one training" in one.line
    assert figures(with_rows(run, examples=250, seeds=3))["How sure is that?"].value == "250 rows, 3 seeds"


def test_bars_are_as_long_as_the_scores_and_the_base_is_compared_by_name(run: RunFolder) -> None:
    facts = read_run(run.path)
    first, row = task_bars(facts)[0], facts.rows()[0][1]
    assert [(bar.subject, bar.share) for bar in first.bars] == [
        ("base", row.base), ("alone", row.alone), ("together", row.together)
    ]  # fmt: skip
    against = task_bars(with_rows(run, against="base", reference="base", alone=None))[0]
    assert [bar.subject for bar in against.bars] == ["base", "shared"]


def test_a_score_below_zero_has_no_bar_and_keeps_its_figure(run: RunFolder) -> None:
    bar = task_bars(with_rows(run, together=-0.25))[0].bars[-1]
    assert (bar.share, bar.text) == (0.0, "−0.250")


def test_answers_that_are_all_alike_are_told_beside_the_bars(run: RunFolder) -> None:
    scores = read_json(run.scores)
    scores["tasks"]["tweets"]["scores"]["shared"]["degenerate"] = "answers 'neutral' to 40 of 40 rows"
    write_json(run.scores, scores)
    assert "answers 'neutral' to 40 of 40 rows" in task_bars(read_run(run.path))[0].notes


def test_a_best_last_checkpoint_is_warned_of(run: RunFolder) -> None:
    facts = read_run(run.path)
    (warning,) = still_falling(facts, curves(facts.events, facts.selection))
    assert "longer training may still help" in warning


def test_a_longer_training_of_the_shared_adapter_is_told(run: RunFolder) -> None:
    lines = run.events.read_text("utf-8").splitlines()
    short = [
        line.replace('"tweets": {"loss": 1.0', '"gone": {"loss": 1.0') if '"step": 60' in line else line
        for line in lines
    ]
    run.events.write_text("\n".join(short) + "\n", "utf-8")
    facts = read_run(run.path)
    assert "shared took 60 steps, the ones alone 59 to 60" in budget(facts, spent(facts.events))[0]


def test_equal_steps_are_told(run: RunFolder) -> None:
    facts = read_run(run.path)
    assert budget(facts, spent(facts.events)) == ["All arms took the same number of steps."]


def test_where_each_task_was_trained_alone_the_sentence_is_about_all_of_them(run: RunFolder) -> None:
    scores = read_json(run.scores)
    shared = scores["transfer"].pop("shared")
    for row in shared["tasks"]:
        row.update(against="base", reference="base", alone=None, verdict="ahead in this run")
        scores["transfer"][row["task"]] = {"tasks": [row], "summary": {**shared["summary"], "mean_points": 3.0}}
    write_json(run.scores, scores)
    facts = read_run(run.path)
    assert verdict(facts) == "In this run against the base, training each task alone is ahead on all of them."
    gain = figures(facts)["What did it gain?"]
    assert (gain.value, gain.line.split(";")[0]) == ("+3.0 points", "mean of 3 tasks against the base")
