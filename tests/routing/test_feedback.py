"""Laws of learning from feedback: a shift is followed, wrong claims weigh little, floors hold, nothing else moves."""

from collections.abc import Callable

import numpy as np
import pytest

from multitune.core.bases import BASE
from multitune.core.errors import RouterError
from multitune.routing.feedback import Claims, agreement, below_floor, held_accuracy, moved_router, right_claims
from multitune.routing.router import Router
from tests.routing.test_router import TABLE, cloud, others, router_of

__all__ = ["router_of"]
RouterOf = Callable[..., Router]
SHIFT = np.array([0, 0, 0, 3, 3, 0, 0, 0, 0, 2, 0, 0], dtype=np.float32)  # nothing that tells tasks apart


def stream(rows: int, seed: int, shift: np.ndarray | float = 0.0) -> Claims:
    """Requests of three tasks in turn, claimed for what they are."""
    features = np.concatenate([cloud(task, 1, rows, seed) + shift for task in range(3)]).astype(np.float32)
    return Claims(features, [name for name in "abc" for _ in range(rows)])


def poisoned(claims: Claims, share: float, towards: str | None = None) -> Claims:
    random = np.random.default_rng(3)
    wrong = {"a": "bc", "b": "ca", "c": "ab"}
    tasks = [
        (towards or wrong[task][random.integers(2)]) if random.random() < share else task for task in claims.tasks
    ]
    return Claims(claims.features, tasks)


def right(router: Router, claims: Claims) -> float:
    return float(agreement(router, claims, TABLE).mean())


def test_feedback_follows_a_stream_that_has_shifted(router_of: RouterOf) -> None:
    router, later = router_of(), stream(60, 8, SHIFT)
    moved = moved_router(router, stream(40, 7, SHIFT))
    assert right(router, later) < 0.2 and right(moved, later) > 0.7


@pytest.mark.parametrize("towards", [None, "b"])
def test_a_third_of_wrong_claims_costs_little(router_of: RouterOf, towards: str | None) -> None:
    router, later, given = router_of(), stream(60, 8, SHIFT), stream(40, 7, SHIFT)
    honest, deceived = (moved_router(router, one) for one in (given, poisoned(given, 0.35, towards)))
    assert right(deceived, later) > right(honest, later) - 0.06
    assert right(deceived, stream(60, 9)) > right(router, stream(60, 9)) - 0.03


def test_feedback_on_a_stream_as_in_training_changes_nothing_for_the_worse(router_of: RouterOf) -> None:
    router = router_of()
    moved = moved_router(router, stream(40, 7))
    assert right(moved, stream(80, 8)) >= right(router, stream(80, 8)) - 0.02
    assert below_floor(router, held_accuracy(router, router, TABLE), held_accuracy(moved, router, TABLE)) == []


def test_the_router_itself_stays_as_it_is(router_of: RouterOf) -> None:
    router, asked = router_of(), stream(20, 8).features
    before = router.probabilities(asked), router.threshold, router.decide(asked, TABLE)
    moved_router(router, stream(40, 7, SHIFT))
    after = router.probabilities(asked), router.threshold, router.decide(asked, TABLE)
    assert np.array_equal(before[0], after[0]) and before[1:] == after[1:]


def test_a_claim_for_another_task_is_taken_for_less_likely_right(router_of: RouterOf) -> None:
    router, rows = router_of(), cloud(0, 1, 30, seed=5)
    own, other = (right_claims(router, rows, np.full(30, place)) for place in (0, 1))
    assert own.min() > 0.9 and other.max() < 0.5


def test_texts_of_no_task_raise_the_threshold_and_never_beyond_what_may_be_rejected(router_of: RouterOf) -> None:
    router = router_of(with_general=True)
    strange = Claims(others(60, seed=21), [BASE] * 60)
    assert right(moved_router(router, strange), strange) >= right(router, strange)
    hostile = stream(40, 7)
    moved = moved_router(router, Claims(hostile.features, [BASE] * len(hostile)))
    assert right(moved, stream(80, 8)) > 0.9


def test_a_move_that_costs_a_route_more_than_it_may_is_named(router_of: RouterOf) -> None:
    router = router_of(with_general=True)  # 80 rows of each task, 10 texts of none
    before = {"a": 0.9, "b": 1.0, "*": 0.8}
    assert below_floor(router, before, {"a": 0.86, "b": 0.975, "*": 0.7}) == []
    assert below_floor(router, before, {"a": 0.84, "b": 0.96, "*": 0.6}) == ["a", "b", "*"]


def test_a_router_that_is_fitted_as_a_whole_cannot_be_moved(router_of: RouterOf) -> None:
    with pytest.raises(RouterError, match="cannot take in or forget"):
        moved_router(router_of("softmax"), stream(5, 7))
