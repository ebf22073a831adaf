"""The rule by which a task gets its adapter: the shared one unless another is significantly better."""

from dataclasses import replace

import numpy as np
import pytest

from multitune.core.null_margin import ALPHA
from multitune.core.records import Prediction
from multitune.core.results.routing import RoutingChoice
from multitune.deployment.select import Candidate, choose, costs
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


def chosen(**right: int) -> RoutingChoice:
    names = {"base": "base", "shared": "shared", "pair": "pair", "residual": "t.residual", "alone": "t"}
    said = {names[role]: rows(count, 37 * list(names).index(role)) for role, count in right.items()}
    few = [candidate for candidate in CANDIDATES if candidate.name in said]
    return choose(METRICS["accuracy"], few, said, PLAN)


@pytest.mark.parametrize(
    ("right", "adapter"),
    [
        ({"base": 40, "shared": 70, "alone": 60}, "shared"),
        ({"base": 40, "shared": 70, "alone": 71}, "shared"),  # better, but within the null margin
        ({"base": 40, "shared": 50, "alone": 80}, "t"),
        ({"base": 80, "shared": 50, "alone": 60}, "base"),  # training did harm
        ({"base": 40, "shared": 50, "pair": 80, "residual": 81}, "pair"),  # level, and smaller
        ({"base": 80, "shared": 50, "alone": 81}, "base"),  # level, and costs nothing
        ({"base": 71, "shared": 70, "alone": 60}, "base"),  # an adapter that is behind the base is not shipped
        ({"base": 66, "shared": 60, "alone": 74}, "base"),  # picked as the best of several, it looks better than it is
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
    assert chosen(base=40, shared=70, alone=60).why == "best, 0.700; next t 0.600"
    assert "0.010 behind t, within the null margin (up to 0.0" in chosen(base=40, shared=70, alone=71).why
    assert "0.300 ahead of shared, beyond the null margin (up to 0." in chosen(base=40, shared=50, alone=80).why
    assert "; smaller than t.residual, and level with it" in chosen(base=40, shared=50, pair=80, residual=81).why
    assert "shared is 0.010 behind it" in chosen(base=71, shared=70, alone=60).why
    assert "t is 0.080 ahead of it, within the null margin (up to 0." in chosen(base=66, shared=60, alone=74).why


def drawn(random: np.random.Generator, name: str, chances: np.ndarray) -> list[Prediction]:
    right, losses = random.random(len(chances)) < chances, random.exponential(1.0, len(chances)) + 1 - chances
    labels = ["a" if r else "b" for r in right]
    return [
        Prediction("t", f"{i}", said, said, "a", float(r), float(loss))
        for i, (said, r, loss) in enumerate(zip(labels, right, losses, strict=True))
    ]


@pytest.mark.parametrize("others", [1, 6])
@pytest.mark.parametrize("with_shared", [True, False])
def test_of_equally_good_candidates_the_simple_one_ships_in_nine_cases_of_ten(others: int, with_shared: bool) -> None:
    random, few = np.random.default_rng(5), [Candidate("base", "base", 0)]
    few += [Candidate("shared", "shared", 100)] * with_shared
    few += [Candidate(f"{i}", "alone", 100) for i in range(others)]
    kept = 0
    for _ in range(60):
        chances = random.beta(1, 1, 40)  # rows are easy or hard for all alike
        said = {one.name: drawn(random, one.name, chances) for one in few}
        kept += choose(METRICS["accuracy"], few, said, BootstrapPlan(100)).adapter in ("base", "shared")
    assert kept >= 60 * (1 - 2 * ALPHA) - 5  # two looks; two standard errors of sixty draws


def with_losses(said: list[Prediction], mean: float) -> list[Prediction]:
    random = np.random.default_rng(len(said))  # the same rows are hard for all
    return [replace(row, loss=float(mean * (0.5 + random.random()))) for row in said]


@pytest.mark.parametrize(
    ("right", "losses", "adapter"),
    [
        ({"shared": 20, "alone": 20}, {"shared": 1.0, "alone": 0.8}, "t"),
        ({"shared": 20, "alone": 20}, {"shared": 1.0, "alone": 1.2}, "shared"),
        ({"shared": 22, "alone": 20}, {"shared": 1.0, "alone": 0.8}, "shared"),  # likelier, but scores less
        ({"shared": 20, "alone": 20, "base": 20}, {"shared": 1.0, "alone": 1.2, "base": 0.5}, "shared"),
        ({"shared": 20, "alone": 80}, {"shared": 0.5, "alone": 1.0}, "t"),  # the score decides where it can
        ({"shared": 20, "alone": 20, "pair": 20}, {"shared": 1.0, "alone": 0.8, "pair": 0.7}, "pair"),
    ],
)
def test_where_scores_cannot_tell_the_likelihood_of_the_right_answers_may(
    right: dict[str, int], losses: dict[str, float], adapter: str
) -> None:
    names = {"base": "base", "shared": "shared", "pair": "pair", "alone": "t"}
    right, losses = {"base": 0, **right}, {"base": 3.0, **losses}
    said = {names[role]: with_losses(rows(count, 7), losses[role]) for role, count in right.items()}
    few = [candidate for candidate in CANDIDATES if candidate.name in said]
    assert choose(METRICS["accuracy"], few, said, PLAN).adapter == adapter
    silent = {name: [replace(row, loss=None) for row in one] for name, one in said.items()}
    by_score = choose(METRICS["accuracy"], few, silent, PLAN).adapter
    assert by_score == ("t" if right["alone"] == 80 else "shared")


def test_more_candidates_need_a_larger_lead() -> None:
    random = np.random.default_rng(6)
    noise = {f"{i}": drawn(random, f"{i}", np.full(100, 0.5)) for i in range(9)}
    leads: list[float] = []
    for count in (0, 8):
        said = {"base": rows(40, 0), "t": rows(60, 7), **dict(list(noise.items())[:count])}
        few = [Candidate(name, "base" if name == "base" else "alone", 100 * (name != "base")) for name in said]
        leads.append(float(choose(METRICS["accuracy"], few, said, PLAN).why.partition("up to ")[2][:5]))
    assert leads[0] < leads[1]


def test_costs_count_what_ships_against_a_model_per_task() -> None:
    found = costs(1000, CANDIDATES, {"t": "shared", "u": "shared", "v": "t.residual", "w": "base"})
    assert (found.together, found.separate) == (1300, 4000)
    assert found.shipped == ("shared", "t.residual") and found.droppable == ("pair", "t")
