"""The rule by which a task gets its adapter: the shared one unless another is better beyond one standard error."""

import pytest

from multitune.core.records import Prediction
from multitune.evaluation.select import Candidate, Choice, choose, costs
from multitune.evaluation.stats import BootstrapPlan
from multitune.tasks.metrics import METRICS

PLAN = BootstrapPlan(resamples=300)
CANDIDATES = (
    Candidate("base", "base", 0),
    Candidate("shared", "shared", 100),
    Candidate("pair", "group", 100),
    Candidate("t.residual", "residual", 200),
    Candidate("t", "alone", 100),
)


def rows(right: int, first: int, of: int = 100) -> list[Prediction]:
    """So many right ones from the row `first` on, round the end: two that begin elsewhere differ on many rows."""
    golds = ["ab"[place % 2] for place in range(of)]
    said = [gold if (place - first) % of < right else "ba"[place % 2] for place, gold in enumerate(golds)]
    return [Prediction("t", f"{i}", v, v, g, float(v == g)) for i, (v, g) in enumerate(zip(said, golds, strict=True))]


def chosen(**right: int) -> Choice:
    names = {"base": "base", "shared": "shared", "pair": "pair", "residual": "t.residual", "alone": "t"}
    said = {names[role]: rows(count, 37 * list(names).index(role)) for role, count in right.items()}
    few = [candidate for candidate in CANDIDATES if candidate.name in said]
    return choose("t", METRICS["accuracy"], few, said, PLAN)


@pytest.mark.parametrize(
    ("right", "adapter"),
    [
        ({"base": 40, "shared": 70, "alone": 60}, "shared"),
        ({"base": 40, "shared": 70, "alone": 71}, "shared"),  # better, but within the noise
        ({"base": 40, "shared": 50, "alone": 80}, "t"),
        ({"base": 80, "shared": 50, "alone": 60}, "base"),  # training did harm
        ({"base": 40, "shared": 50, "pair": 80, "residual": 81}, "pair"),  # level, and smaller
        ({"base": 80, "shared": 50, "alone": 81}, "base"),  # level, and costs nothing
        ({"base": 60, "shared": 60, "alone": 60}, "shared"),
        ({"base": 40, "alone": 70}, "t"),  # none is shared: the base stands in its place
        ({"base": 70, "alone": 71}, "base"),
    ],
)
def test_a_task_ships_with_what_the_rule_says(right: dict[str, int], adapter: str) -> None:
    assert chosen(**right).adapter == adapter


def test_standings_hold_scores_and_differences_to_the_shared_adapter() -> None:
    found = chosen(base=40, shared=50, alone=80).standings
    assert {name: standing.score for name, standing in found.items()} == {"base": 0.4, "shared": 0.5, "t": 0.8}
    assert found["t"].difference == pytest.approx(0.3)
    assert found["t"].low < found["t"].difference < found["t"].high
    assert found["shared"].difference == found["shared"].standard_error == 0.0


def test_the_reason_names_the_best_and_the_noise() -> None:
    assert "0.010 behind t, within one standard error" in chosen(base=40, shared=70, alone=71).why
    assert chosen(base=40, shared=50, alone=80).why == "best, 0.800; next shared 0.500"


def test_costs_count_what_ships_against_a_model_per_task() -> None:
    found = costs(1000, CANDIDATES, {"t": "shared", "u": "shared", "v": "t.residual", "w": "base"})
    assert (found["together"], found["separate"]) == (1300, 4000)
    assert found["shipped"] == ["shared", "t.residual"] and found["droppable"] == ["pair", "t"]
