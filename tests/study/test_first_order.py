"""First-order estimates, on landscapes whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.core.errors import RunFolderError
from multitune.study.estimate import (
    Landscape,
    TaskSums,
    all_members,
    estimate_losses,
    fit_damping,
    gradient_cosines,
    landscape,
)
from multitune.study.signatures import BUCKETS, Signatures, load_signatures, save_signatures


def quadratic(bottoms: list[list[float]]) -> Landscape:
    """Tasks whose losses are 1 + |x - bottom|² / 2, at the bottom of their sum; validation is as training."""
    here = np.mean(bottoms, axis=0)
    size = len(here)
    sums = tuple(TaskSums(1 + 0.5 * float((here - b) @ (here - b)), here - b, np.eye(size)) for b in np.array(bottoms))
    return Landscape(tuple(f"t{i}" for i in range(len(bottoms))), sums, sums, np.full(len(bottoms), 1 / len(bottoms)))


def test_gradients_on_disk_come_back_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    file, kept = tmp_path / "a.safetensors", signatures(1)
    save_signatures(file, kept)
    found = load_signatures(file)
    assert np.array_equal(found.gradients, kept.gradients) and np.array_equal(found.losses, kept.losses)
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunFolderError, match=r"a\.safetensors: damaged .*the same command makes it again"):
        load_signatures(file)


def signatures(seed: int, rows: int = 12, shift: float = 0.0) -> Signatures:
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(rows, BUCKETS)).astype(np.float32) + shift
    return Signatures(random.uniform(0.2, 2.0, rows), gradients, 0.0)


def test_every_combination_is_there_once() -> None:
    members = all_members(4)
    assert len(members) == 15 == len({tuple(row) for row in members})
    assert members.any(axis=1).all()


def test_what_remains_of_a_finished_run_comes_to_the_bottom_of_its_own_loss() -> None:
    bottoms = np.array([[1.0, 0.0], [0.0, -0.5], [2.0, 1.0]])
    members = all_members(3)
    losses = estimate_losses(quadratic(bottoms.tolist()), members, damping=1e-9)
    for row, inside in enumerate(members):
        reached = bottoms[inside].mean(axis=0)
        assert losses[row] == pytest.approx(1 + 0.5 * ((reached - bottoms) ** 2).sum(axis=1), rel=1e-4)


@given(st.floats(1e-3, 1e3))
def test_all_tasks_together_are_the_shared_run_itself(damping: float) -> None:
    land = quadratic([[1.0, 0.5], [0.3, -0.5]])
    together = estimate_losses(land, np.array([[True, True]]), damping)[0]
    assert together == pytest.approx([one.loss for one in land.validation])


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
    near, far = estimate_losses(land, members, 100.0)[:2], estimate_losses(land, members, 0.01)[:2]
    together = estimate_losses(land, members, 1.0)[2]
    assert (np.abs(near - together) < np.abs(far - together)).all()


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
