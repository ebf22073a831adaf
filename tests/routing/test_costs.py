"""Laws of rejections by their cost: no threshold is cheaper, nothing is rejected for nothing, unsure is shared."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multitune.core.bases import BASE
from multitune.core.results.routing import RoutingChoice, Standing
from multitune.deployment.deploy import route_costs
from multitune.routing.classifiers import KINDS
from multitune.routing.costs import LEAST_LOST, RouteCosts, TaskCost, cheapest_threshold
from multitune.routing.general_texts import drawn_together, general_texts
from multitune.routing.router import Decision, Router, RouterRows, fit_router, load_router
from tests.routing.test_router import TABLE, cloud, every, others, router_of, save, views

__all__ = ["router_of"]
RouterOf = Callable[..., Router]


def fitted(costs: RouteCosts, general: np.ndarray | None = None, kind: str = "discriminant") -> Router:
    texts = {"chat": others(40) if general is None else general}
    return fit_router(kind, "points", RouterRows(views("abc"), views("abc", 40, seed=1), texts), costs)


def rejected(router: Router, rows: np.ndarray) -> float:
    return float(np.mean([one.adapter == BASE for one in router.decide(rows, TABLE)]))


def between(seed: int = 4) -> np.ndarray:
    """Rows that may be of task a or of task b."""
    rows = cloud(0, 0, 200, seed)
    return rows + (cloud(1, 0, 2000).mean(0) - cloud(0, 0, 2000).mean(0)) / 2


@pytest.mark.parametrize("cost", [0.01, 0.1, 1.0, 10.0])
def test_no_other_threshold_costs_less(cost: float) -> None:
    random = np.random.default_rng(4)
    own, outside = random.normal(1.0, 1.0, 300), random.normal(-1.0, 1.0, 100)
    lost = random.uniform(0.0, 1.0, 300) / 300

    def total(point: float) -> float:
        return float(lost[own < point].sum() + cost * (outside >= point).mean())

    found = cheapest_threshold(own, lost, outside, cost)
    assert total(found) <= min(total(point) for point in np.linspace(-6, 6, 999)) + 1e-9


def test_a_higher_cost_of_outside_texts_never_lowers_the_threshold() -> None:
    random = np.random.default_rng(5)
    own, outside, lost = random.normal(1.0, 1.0, 200), random.normal(-1.0, 1.0, 80), np.full(200, 1 / 200)
    points = [cheapest_threshold(own, lost, outside, cost) for cost in (0.0, 0.01, 0.05, 0.1, 0.3, 1.0)]
    assert points == sorted(points) and points[0] == -np.inf


def test_where_outside_texts_are_far_the_threshold_leaves_room_on_both_sides() -> None:
    own, lost = np.array([5.0, 6.0, 7.0]), np.full(3, 1 / 3)
    assert cheapest_threshold(own, lost, np.array([1.0, 2.0]), 0.1) == pytest.approx(3.5)
    assert cheapest_threshold(own, lost, np.zeros(0), 0.1) == -np.inf


def test_outside_texts_that_are_the_tasks_own_rows_reject_none_of_them() -> None:
    own, lost = np.random.default_rng(6).normal(size=200), np.full(200, 0.5 / 200)
    found = cheapest_threshold(own, lost, own, 0.1)
    assert (own < found).mean() <= 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_outside_texts_that_cost_nothing_are_never_rejected(kind: str) -> None:
    router = fitted(RouteCosts(outside=0.0), kind=kind)
    asked = np.concatenate([others(40, 12), cloud(0, 0, 20) + 60.0, *every(views("abc", 40, 2), "body").values()])
    assert {one.reason for one in router.decide(asked, TABLE)} == {"routed"}


def test_rows_that_lose_more_are_rejected_less() -> None:
    near = views("a", 40, seed=5)["a"]["body"]  # as like task a as can be
    dear, cheap = (fitted(RouteCosts(0.1, None, dict.fromkeys("abc", TaskCost(c, c))), near) for c in (1.0, 0.05))
    own = views("a", 200, seed=7)["a"]["body"]
    assert rejected(dear, own) < rejected(cheap, own)


def test_a_row_that_may_be_of_several_tasks_goes_to_the_shared_adapter_where_that_loses_less() -> None:
    little, much = (RouteCosts(0.0, "shared", dict.fromkeys("abc", TaskCost(0.5, c))) for c in (0.05, 0.5))

    def decided(costs: RouteCosts) -> list[Decision]:
        return fitted(costs).decide(between(), TABLE)

    unsure = [one for one in decided(little) if one.reason == "unsure"]
    assert 0 < len(unsure) < 200
    assert {one.adapter for one in unsure} == {"shared"}
    # It is sent there only if the tasks are unclear: an error costs 0.5, the shared adapter 0.05 of any row.
    assert max(one.probability for one in unsure) < 0.9 + 1e-6
    assert min(one.probability for one in decided(little) if one.reason == "routed") >= 0.9 - 1e-6
    assert {one.reason for one in decided(much)} == {"routed"}


def test_without_a_shared_adapter_the_likeliest_one_answers() -> None:
    router = fitted(RouteCosts(0.0, None, dict.fromkeys("abc", TaskCost(0.5, 0.05))))
    assert {one.reason for one in router.decide(between(), TABLE)} == {"routed"}


def test_tasks_that_ship_with_the_shared_adapter_are_never_unsure() -> None:
    router = fitted(RouteCosts(0.0, "shared", dict.fromkeys("abc", TaskCost(0.5, 0.0))))
    assert {one.reason for one in router.decide(between(), dict.fromkeys("abc", "shared"))} == {"routed"}


def test_a_task_that_joins_brings_what_it_costs(router_of: RouterOf) -> None:
    router = router_of(tasks="ab")
    router.add("c", views("c")["c"], views("c", 40, seed=1)["c"], TaskCost(0.4, 0.1))
    assert router.costs.of("c") == TaskCost(0.4, 0.1)
    router.remove("c")
    assert router.costs.of("c") == TaskCost()


@pytest.mark.parametrize("outside", [0.0, 0.1, 5.0])
def test_costs_and_thresholds_survive_the_disk(outside: float, tmp_path: Path) -> None:
    router = fitted(RouteCosts(outside, "shared", {"a": TaskCost(0.5, 0.1)}))
    save(router, tmp_path / "r")
    again = load_router(tmp_path / "r")
    assert again.costs == router.costs
    assert (again.threshold, again.lowest) == pytest.approx((router.threshold, router.lowest))


def test_what_a_row_loses_is_told_from_the_scores_on_validation() -> None:
    def choice(adapter: str, **scores: float) -> RoutingChoice:
        standings = {
            name: Standing(score=score, standard_error=0.0, difference=0.0, low=0.0, high=0.0)
            for name, score in scores.items()
        }
        return RoutingChoice(adapter=adapter, path="", metric="accuracy", examples=50, why="", standings=standings)

    choices = {
        "own": choice("own", base=0.1, shared=0.5, own=0.8),
        "level": choice("level", base=0.3, shared=0.3, level=0.3),
        "shared": choice("shared", base=0.2, shared=0.6),
        "none": choice(BASE, base=0.9, shared=0.7),
    }
    found = route_costs(choices, "shared", 0.1).tasks
    rounded = {name: (round(cost.base, 9), round(cost.shared, 9)) for name, cost in found.items()}
    level = (LEAST_LOST, LEAST_LOST)
    assert rounded == {"own": (0.7, 0.3), "level": level, "shared": (0.4, 0.0), "none": (0.0, 0.2)}
    without = route_costs({"own": choice("own", base=0.1, own=0.8)}, None, 0.1).tasks["own"]
    assert without.shared == without.base


def test_built_in_texts_are_many_kinds_and_none_twice() -> None:
    texts = general_texts()
    every_text = [text for of in texts.values() for text in of]
    assert len(texts) >= 15 and len(every_text) == len(set(every_text)) > 300
    assert all(len(of) >= 12 and all(text.strip() for text in of) for of in texts.values())
    lengths = {kind: min(map(len, of)) for kind, of in texts.items()}
    assert max(lengths, key=lambda kind: lengths[kind]).endswith("long") and max(lengths.values()) > 500


def test_a_mean_of_few_rows_is_drawn_to_the_middle_and_that_of_many_stays() -> None:
    random = np.random.default_rng(7)
    general = {"few": random.normal(5, 1, (12, 3)), "many": random.normal(-5, 1, (4000, 3))}
    middle = (general["few"].mean(0) + general["many"].mean(0)) / 2
    found = drawn_together(general, 12)
    assert np.allclose(found["few"].mean(0), (general["few"].mean(0) + middle) / 2)
    assert np.allclose(found["many"].mean(0), general["many"].mean(0), atol=0.05)
    assert np.allclose(found["few"] - found["few"].mean(0), general["few"] - general["few"].mean(0))
