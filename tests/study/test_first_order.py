"""First-order estimates, on landscapes whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.study.estimate import (
    Landscape,
    TaskSums,
    all_members,
    estimate_losses,
    fit_damping,
    gradient_cosines,
    landscape,
)
from multitune.study.signatures import BUCKETS, Signatures


def quadratic(slopes: list[list[float]]) -> Landscape:
    """Tasks with unit curvature that pull in given directions; validation is as training."""
    sums = tuple(TaskSums(1.0, np.array(slope), np.eye(len(slope))) for slope in slopes)
    return Landscape(tuple(f"t{i}" for i in range(len(slopes))), sums, sums, np.full(len(slopes), 1 / len(slopes)))


def signatures(seed: int, rows: int = 12, shift: float = 0.0) -> Signatures:
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(rows, BUCKETS)).astype(np.float32) + shift
    return Signatures(random.uniform(0.2, 2.0, rows), gradients, 0.0)


def test_every_combination_is_there_once() -> None:
    members = all_members(4)
    assert len(members) == 15 == len({tuple(row) for row in members})
    assert members.any(axis=1).all()


def test_a_task_alone_comes_to_the_bottom_of_its_own_quadratic() -> None:
    land = quadratic([[1.0, 0.0], [0.0, -0.5]])
    losses = estimate_losses(land, np.array([[True, False], [False, True]]), damping=1e-9)
    assert losses[0, 0] == pytest.approx(1.0 - 0.5)  # loss - slope² / 2
    assert losses[1, 1] == pytest.approx(1.0 - 0.125)


def test_tasks_that_pull_apart_hurt_each_other_and_tasks_that_agree_do_not() -> None:
    land = quadratic([[1.0], [-1.0], [1.0]])
    losses = estimate_losses(land, all_members(3), damping=1e-9)
    alone, against, along = losses[0, 0], losses[0b011 - 1, 0], losses[0b101 - 1, 0]
    assert against > alone + 0.4 and along == pytest.approx(alone)


@given(st.permutations(range(4)))
def test_the_order_of_the_tasks_does_not_matter(order: list[int]) -> None:
    train = {f"t{i}": signatures(i, shift=0.1 * i) for i in range(4)}
    held = {f"t{i}": signatures(10 + i, shift=0.1 * i) for i in range(4)}
    rows = {f"t{i}": 10 * (i + 1) for i in range(4)}
    land = landscape(train, held, rows)
    shuffled = {f"t{i}": train[f"t{i}"] for i in order}
    other = landscape(shuffled, held, rows)
    members = np.array([[True, False, True, True]])
    there = [list(shuffled).index(f"t{i}") for i in range(4)]
    moved = np.zeros((1, 4), dtype=bool)
    moved[0, there] = members[0]
    assert estimate_losses(other, moved, 1.0)[0, there] == pytest.approx(
        estimate_losses(land, members, 1.0)[0], rel=1e-3
    )


def test_more_damping_moves_less() -> None:
    land = quadratic([[1.0, 0.5], [0.3, -0.5]])
    members = all_members(2)
    near, far = estimate_losses(land, members, 100.0), estimate_losses(land, members, 0.01)
    assert (np.abs(near - 1.0) < np.abs(far - 1.0)).all()


def test_the_damping_is_the_one_that_explains_what_was_measured() -> None:
    land = quadratic([[1.0, 0.5], [0.3, -0.5]])
    members = all_members(2)
    truth = float(np.geomspace(1e-3, 1e3, 25)[15])
    measured = estimate_losses(land, members, truth).astype(np.float64)
    measured[0, 1] = np.nan
    assert fit_damping(land, members, measured) == pytest.approx(truth)


def test_a_gradient_has_cosine_one_with_itself() -> None:
    cosines = gradient_cosines({"a": signatures(1), "same": signatures(1), "b": signatures(2)})
    assert cosines[0, 1] == pytest.approx(1.0) and abs(cosines[0, 2]) < 0.2


def test_the_direction_that_matters_survives_the_reduction() -> None:
    random = np.random.default_rng(0)
    pull = random.normal(size=BUCKETS)
    same = Signatures(np.full(8, 1.0), np.tile(pull, (8, 1)).astype(np.float32), 0.0)
    other = Signatures(np.full(8, 1.0), np.tile(-pull, (8, 1)).astype(np.float32), 0.0)
    tasks = {"a": same, "b": same, "against": other}
    land = landscape(tasks, tasks, dict.fromkeys(tasks, 8))
    losses = estimate_losses(land, all_members(3), 0.1)
    assert losses[0b011 - 1, 0] < losses[0b101 - 1, 0]
