"""Groups of rows that do not differ are seldom told apart, and those that do are, whatever the metric."""

from typing import Any

import numpy as np
import pytest

from multitune.core.records import Prediction
from multitune.core.results.robustness import Slices
from multitune.evaluation.groups import Answers, gap
from multitune.evaluation.slices import measure_slices
from multitune.evaluation.stats import BootstrapPlan
from multitune.tasks.metrics import METRICS

PLAN = BootstrapPlan(resamples=100)
LABELS = np.array(["a", "b", "c", "d", "e", "f"])


def rows(random: np.random.Generator, gold: np.ndarray, right: Any) -> list[Prediction]:
    """Answers of which so many are right, by row."""
    said = np.where(random.random(len(gold)) < right, gold, random.choice(LABELS, len(gold)))
    return [
        Prediction("t", f"{i:04d}", str(one), str(one), str(true), float(one == true))
        for i, (one, true) in enumerate(zip(said, gold, strict=True))
    ]


def sliced(
    random: np.random.Generator,
    values: np.ndarray,
    right: Any,
    *,
    base: Any = 0.3,
    metric: str = "macro_f1",
    seeds: int = 1,
) -> Slices:
    gold = random.choice(LABELS, len(values))
    trainings = [rows(random, gold, right) for _ in range(seeds)]
    answers = Answers("shared", METRICS[metric], trainings, rows(random, gold, base))
    return measure_slices("column", {"t": list(values)}, {"t": answers}, PLAN)


def names_any(found: Slices) -> bool:
    tested = [one for task in found.tasks for group in task.groups for one in (group.gap,)]
    return any(one.verdict != "cannot tell" for one in tested)


@pytest.mark.parametrize(("metric", "seeds"), [("macro_f1", 1), ("accuracy", 1), ("macro_f1", 3)])
def test_random_letters_are_seldom_told_apart(metric: str, seeds: int) -> None:
    # The aim is 5% of the families; of 24, up to 17% may differ from that by chance.
    random = np.random.default_rng(5)
    letters = [random.choice(list("pqr"), 120, p=[0.5, 0.3, 0.2]) for _ in range(24)]
    found = [names_any(sliced(random, values, 0.6, metric=metric, seeds=seeds)) for values in letters]
    assert np.mean(found) <= 0.17


def test_a_group_that_is_answered_worse_is_lower_and_the_others_can_stay_undecided() -> None:
    random = np.random.default_rng(6)
    values = random.choice(list("pqr"), 300)
    (task,) = sliced(random, values, np.where(values == "q", 0.2, 0.8)).tasks
    assert {group.value: group.gap.verdict for group in task.groups}["q"] == "lower"


def test_a_gap_that_the_base_has_as_well_is_no_change() -> None:
    random = np.random.default_rng(7)
    values = random.choice(list("pq"), 400)
    hard = np.where(values == "q", 0.2, 0.8)
    (task,) = sliced(random, values, hard, base=hard).tasks
    worse = next(group for group in task.groups if group.value == "q")
    assert worse.gap.verdict == "lower"
    assert worse.change is not None and worse.change.verdict == "cannot tell"


def test_a_gap_that_training_brought_is_a_change() -> None:
    random = np.random.default_rng(8)
    values = random.choice(list("pq"), 400)
    (task,) = sliced(random, values, np.where(values == "q", 0.4, 0.9), base=0.3).tasks
    worse = next(group for group in task.groups if group.value == "q")
    assert worse.change is not None and worse.change.verdict == "lower"


def test_of_two_groups_one_is_the_mirror_of_the_other_and_counts_as_one_test() -> None:
    random = np.random.default_rng(9)
    values = random.choice(list("pq"), 100)
    (task,) = sliced(random, values, 0.5).tasks
    one, other = task.groups
    assert one.gap.difference == pytest.approx(-other.gap.difference)
    assert one.gap.p_holm == other.gap.p_holm == one.gap.p


def test_small_groups_are_folded_and_counted() -> None:
    random = np.random.default_rng(10)
    values = np.array(["p"] * 60 + ["q"] * 40 + ["r"] * 7 + ["s"] * 2)
    (task,) = sliced(random, values, 0.5).tasks
    assert [group.value for group in task.groups] == ["p", "q"]
    assert task.folded == {"r": 7, "s": 2}


def test_a_row_of_a_group_is_right_or_wrong_by_itself_and_p_is_exact() -> None:
    """All rows of a group wrong and all others right: no other choice of so many rows is as extreme."""
    gold = np.array(["a"] * 40)
    member = np.arange(40) < 20
    answers = [
        Prediction("t", str(i), "", "b" if bad else "a", "a", float(not bad)) for i, bad in enumerate(member.tolist())
    ]
    assert len(gold) == len(answers)
    difference, p = gap(Answers("shared", METRICS["accuracy"], [answers]), member, PLAN, tests=5)
    assert difference.difference == -1.0
    assert p == pytest.approx(2 / 501)
