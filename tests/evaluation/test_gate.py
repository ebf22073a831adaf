"""The gate: what passes is no worse, what is worse is shown beyond the margin and for all tasks at once."""

from collections.abc import Sequence

import numpy as np
import pytest

from multitune.core.bases import BASE
from multitune.core.records import Prediction
from multitune.core.results.gate import Gate, GateTask, GateVerdict
from multitune.evaluation.gate import Gated, Side, gate_tasks
from multitune.evaluation.stats import BootstrapPlan
from multitune.tasks.metrics import METRICS

PLAN = BootstrapPlan(resamples=200)
ACCURACY = METRICS["accuracy"]


def answers(right: Sequence[bool] | np.ndarray) -> list[Prediction]:
    return [Prediction("a", f"row{i:04d}", str(int(ok)), str(int(ok)), "1", float(ok)) for i, ok in enumerate(right)]


def gated(old: Sequence[np.ndarray], new: Sequence[np.ndarray], margin: float = 0.02, adapter: str = "a") -> Gated:
    return Gated(ACCURACY, Side("a", [answers(x) for x in old]), Side(adapter, [answers(x) for x in new]), margin)


def rows(count: int, wrong: int) -> np.ndarray:
    return np.arange(count) >= wrong


def verdict(task: Gated) -> GateTask:
    return gate_tasks({"a": task}, PLAN)[0]


@pytest.mark.parametrize(
    ("count", "wrong", "margin", "expected"),
    [
        (200, 0, 0.02, "passes"),  # the same answers
        (200, 40, 0.02, "worse"),
        (200, 40, 0.3, "passes"),  # a loss of 0.2 within a margin of 0.3
        (200, 6, 0.02, "cannot tell"),  # a loss of 0.03, of which as much as nothing is left beyond the margin
        (5, 4, 0.02, "cannot tell"),  # all but one, and yet too few
    ],
)
def test_a_verdict_holds_the_interval_against_the_margin(
    count: int, wrong: int, margin: float, expected: GateVerdict
) -> None:
    found = verdict(gated([rows(count, 0)], [rows(count, wrong)], margin))
    assert found.verdict == expected and found.difference == pytest.approx(-wrong / count)


def test_a_loss_below_zero_but_not_below_the_margin_is_not_worse() -> None:
    found = verdict(gated([rows(400, 0)], [rows(400, 20)], margin=0.05))
    assert found.high < 0.0 and found.verdict == "cannot tell" and found.p == 1.0


def test_more_tasks_do_not_make_a_false_alarm_more_likely() -> None:
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        tasks = {}
        for number in range(8):
            old = random.random(200) < 0.5
            flipped = random.random(200)
            new = np.where(flipped < 0.12, ~old, old) & ~(random.random(200) < 0.04)  # loses 0.02 of 0.5
            tasks[f"task{number}"] = gated([old], [new])
        alarms += any(row.verdict == "worse" for row in gate_tasks(tasks, PLAN))
    assert alarms <= 4  # each task truly loses its margin; 2 are expected of a test at 5%


def test_p_is_adjusted_for_the_number_of_tasks() -> None:
    one = gated([rows(100, 0)], [rows(100, 11)])
    alone = verdict(one)
    many = gate_tasks({f"task{i}": one for i in range(30)}, PLAN)
    assert alone.verdict == "worse"
    assert {row.verdict for row in many} == {"cannot tell"} and many[0].p == alone.p < many[0].p_holm


def seeded(level: float, noise: float, seeds: int, random: np.random.Generator) -> list[np.ndarray]:
    hard = np.linspace(0.0, 1.0, 300)
    return [hard < level + noise * random.normal() for _ in range(seeds)]


def test_with_several_seeds_training_counts_as_chance() -> None:
    random = np.random.default_rng(5)
    old, new = seeded(0.8, 0.1, 3, random), seeded(0.7, 0.1, 3, random)
    several, first = verdict(gated(old, new)), verdict(gated(old[:1], new[:1]))
    assert (several.seeds, first.seeds) == (3, 1)
    assert several.verdict == "cannot tell"
    assert several.high - several.low > first.high - first.low


def test_the_smaller_number_of_seeds_counts() -> None:
    random = np.random.default_rng(6)
    old, new = seeded(0.8, 0.01, 3, random), seeded(0.4, 0.01, 2, random)
    assert verdict(gated(old, new)).seeds == 2
    assert verdict(gated(old, new[:1])).seeds == 1


def test_the_base_stands_beside_every_seed_of_the_other_side() -> None:
    random = np.random.default_rng(7)
    found = verdict(gated(seeded(0.8, 0.01, 3, random), [rows(300, 250)], adapter=BASE))
    assert found.seeds == 3 and found.verdict == "worse"


def test_a_run_with_seeds_passes_against_itself() -> None:
    old = seeded(0.7, 0.1, 3, np.random.default_rng(8))
    found = verdict(gated(old, old))
    assert (found.verdict, found.low, found.high, found.seeds) == ("passes", 0.0, 0.0, 3)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (("passes", "passes"), 0),
        (("passes", "worse"), 1),
        (("cannot tell", "worse"), 1),
        (("passes", "cannot tell"), 3),
    ],
)
def test_one_task_that_is_worse_decides_and_then_one_that_cannot_be_told(
    verdicts: tuple[GateVerdict, ...], code: int
) -> None:
    row = verdict(gated([rows(20, 0)], [rows(20, 0)]))
    tasks = tuple(row.model_copy(update={"verdict": one}) for one in verdicts)
    assert Gate(old="a", new="b", split="test", confidence=0.95, resamples=200, tasks=tasks).exit_code == code
