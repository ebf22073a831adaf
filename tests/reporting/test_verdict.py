"""The sentences on top follow from the scores, and warn where they should."""

from collections.abc import Mapping
from typing import Any

import pytest

from multitune.core.files import read_json, write_json
from multitune.core.run_folder import RunFolder
from multitune.reporting.facts import RunFacts, read_run
from multitune.reporting.training_curves import curves, spent
from multitune.reporting.verdict import questions, verdict


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


def answers(facts: RunFacts) -> Mapping[str, str]:
    return dict(questions(facts, curves(facts.events, facts.selection), spent(facts.events)))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("ahead in this run", "was ahead on all of them and was behind on none;"),
        ("behind in this run", "was ahead on none and was behind on tweets, entities and reports;"),
        ("cannot tell", "was ahead on none and was behind on none beyond chance;"),
    ],
)
def test_one_sentence_says_what_training_together_did(run: RunFolder, outcome: str, words: str) -> None:
    assert verdict(with_rows(run, verdict=outcome)).startswith(f"In this run training 3 tasks together {words}")


def test_of_several_seeds_the_sentence_says_helped_and_hurt(run: RunFolder) -> None:
    facts = with_rows(run, verdict="helped", seeds=3)
    assert verdict(facts).startswith("Training 3 tasks together helped all of them and hurt none")
    assert answers(facts)["Did mixing help?"].startswith("Yes, for")


def test_where_nothing_shows_a_gain_the_answer_is_not_yes(run: RunFolder) -> None:
    said = answers(with_rows(run, verdict="cannot tell", low=-0.083))
    assert said["Did mixing help?"].startswith("Not beyond what chance explains.")
    assert "a loss of up to 8.3 points" in said["Whom did it hurt?"]


def test_a_mean_beyond_chance_is_told_where_no_single_task_is(run: RunFolder) -> None:
    def said(low: float, high: float = 9.0) -> str:
        facts = with_rows(run, verdict="cannot tell")
        changed(facts, mean_points=5.0, points_low=low, points_high=high)
        return answers(facts)["Did mixing help?"]

    assert said(1.0).startswith("No single task beyond what chance explains, but their mean. On average scores moved")
    assert "by +5.0 points [+1.0, +9.0]" in said(1.0)
    assert said(-1.0).startswith("Not beyond what chance explains.")
    assert said(-9.0, -1.0).startswith("No, and the mean fell by more than chance explains.")


def test_a_run_of_before_without_an_interval_of_the_mean_can_still_be_read(run: RunFolder) -> None:
    facts = read_run(run.path)
    changed(facts, points_low=None, points_high=None)
    assert "scores moved by +5.0 points against" in answers(facts)["Did mixing help?"]


def test_what_the_base_lost_is_told(run: RunFolder) -> None:
    assert "Of what the base knew, arithmetic got worse." in answers(read_run(run.path))["Whom did it hurt?"]


def test_what_ships_is_the_routing_table(run: RunFolder) -> None:
    said = answers(read_run(run.path))["What should ship?"]
    assert said.startswith("Shared for tweets and reports, entities for entities, chosen on validation rows.")
    assert "35% of the parameters" in said and "97% of requests" in said


def test_few_rows_and_a_best_last_checkpoint_are_warned_of(run: RunFolder) -> None:
    said = answers(with_rows(run, examples=40))["Can I trust it?"]
    assert "Few rows: tweets has 40." in said and "longer training may still help" in said


def test_many_rows_are_no_warning(run: RunFolder) -> None:
    assert "Few rows" not in answers(with_rows(run, examples=1000))["Can I trust it?"]


def test_a_longer_training_of_the_shared_adapter_is_told(run: RunFolder) -> None:
    lines = run.events.read_text("utf-8").splitlines()
    short = [
        line.replace('"tweets": {"loss": 1.0', '"gone": {"loss": 1.0') if '"step": 60' in line else line
        for line in lines
    ]
    run.events.write_text("\n".join(short) + "\n", "utf-8")
    said = answers(read_run(run.path))["Can I trust it?"]
    assert "shared took 60 steps, the ones alone 59 to 60" in said


def test_equal_steps_are_told(run: RunFolder) -> None:
    assert "All arms took the same number of steps." in answers(read_run(run.path))["Can I trust it?"]


def test_where_each_task_was_trained_alone_the_sentence_is_about_all_of_them(run: RunFolder) -> None:
    scores = read_json(run.scores)
    shared = scores["transfer"].pop("shared")
    for row in shared["tasks"]:
        row.update(against="base", reference="base", alone=None, verdict="ahead in this run")
        scores["transfer"][row["task"]] = {"tasks": [row], "summary": {**shared["summary"], "mean_points": 3.0}}
    write_json(run.scores, scores)
    facts = read_run(run.path)
    assert verdict(facts).startswith(
        "In this run against the base, training each task alone was ahead on all of them and was behind on none"
    )
    assert "scores moved by +3.0 points against the base" in answers(facts)["Did training help?"]
