"""The last step stays unless an earlier look is better beyond noise."""

import numpy as np
import pytest

from multitune.training.choice import Look, RowValues, choose_step

EVEN = {"a": 1.0, "b": 1.0}


def look(step: int, losses: np.ndarray, scores: np.ndarray | None = None, task: str = "a") -> Look:
    values = RowValues(losses=tuple(losses), scores=() if scores is None else tuple(scores))
    return Look(step=step, tasks={task: values})


def rows(mean: float, seed: int, count: int = 40, spread: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, count)


def test_an_earlier_step_with_a_far_lower_loss_is_kept() -> None:
    looks = [look(0, rows(3.0, 1)), look(10, rows(0.8, 2)), look(20, rows(2.0, 3))]
    step, why = choose_step(looks, "mean", EVEN)
    assert step == 10 and "below the last step's, beyond the null margin" in why


def test_a_loss_that_is_lower_by_chance_moves_nothing() -> None:
    looks = [look(0, rows(3.0, 1)), look(10, rows(0.98, 2)), look(20, rows(1.0, 3))]
    assert choose_step(looks, "mean", EVEN)[0] == 20


@pytest.mark.parametrize("count", [16, 40, 100])
def test_of_looks_that_are_all_alike_the_last_stays_in_nineteen_cases_of_twenty(count: int) -> None:
    kept = []
    for seed in range(300):
        level = rows(1.0, 10_000 + seed, count, 0.5)  # how hard each row is, at every look
        looks = [look(0, level * 3)]
        looks += [look(n, level + rows(0.0, 7 * seed + n, count, 0.2)) for n in range(1, 7)]
        kept.append(choose_step(looks, "mean", EVEN)[0] == 6)
    assert np.mean(kept) > 0.91


def test_where_scores_were_measured_they_decide() -> None:
    wrong, right = np.zeros(40), np.ones(40)
    looks = [look(0, rows(3.0, 1)), look(10, rows(0.5, 2), wrong), look(20, rows(1.0, 3), right)]
    assert choose_step(looks, "mean", EVEN)[0] == 20  # a far lower loss, but all answers are wrong
    looks = [look(0, rows(3.0, 1)), look(10, rows(1.0, 2), right), look(20, rows(1.0, 3), wrong)]
    step, why = choose_step(looks, "mean", EVEN)
    assert step == 10 and why.startswith("score 1.000 above")


def test_where_scores_are_level_the_loss_may_decide() -> None:
    same = np.tile([0.0, 1.0], 20)
    looks = [look(0, rows(3.0, 1)), look(10, rows(0.5, 2), same), look(20, rows(1.0, 3), same)]
    assert choose_step(looks, "mean", EVEN)[0] == 10


def test_with_looks_that_are_the_same_the_last_stays() -> None:
    same = rows(1.0, 1)
    assert choose_step([look(n, same, np.ones(40)) for n in range(4)], "mean", EVEN)[0] == 3


def test_a_single_look_is_the_last() -> None:
    assert choose_step([look(0, rows(1.0, 1))], "mean", EVEN)[0] == 0


def test_the_worst_task_decides_by_worst() -> None:
    def both(step: int, a: float, b: float) -> Look:
        values = {"a": rows(a, step + 1, spread=0.05), "b": rows(b, step + 2, spread=0.05)}
        return Look(step=step, tasks={task: RowValues(losses=tuple(losses)) for task, losses in values.items()})

    looks = [both(0, 1.0, 1.0), both(10, 0.1, 0.9), both(20, 0.7, 0.7)]
    assert (choose_step(looks, "mean", EVEN)[0], choose_step(looks, "worst", EVEN)[0]) == (10, 20)
