"""What a study would train, without training: budgets are equal, and their sums are right."""

from itertools import combinations

import pytest

from multitune.core.errors import ConfigError
from multitune.study.plan import (
    Planner,
    SetSize,
    baselines,
    finalists,
    most_arms,
    require_budget,
    searched,
    serving,
    variants,
)
from tests.study.conftest import TASKS, Study

SIZES = {"first": SetSize(24, 10.0), "also_first": SetSize(48, 12.0), "last": SetSize(96, 20.0)}


def planner(study: Study, **changes: object) -> Planner:
    settings, run = study(**changes)
    return Planner(settings, run, SIZES)


def test_a_combination_takes_the_steps_of_its_tasks_together(study: Study) -> None:
    plan = planner(study)
    alone = {task: plan.arm((task,)).steps for task in TASKS}
    for size in (2, 3):
        for group in combinations(TASKS, size):
            assert plan.arm(group).steps == sum(alone[task] for task in group)


def test_alone_has_the_passes_or_the_steps_of_what_it_is_compared_with(study: Study) -> None:
    plan = planner(study)
    together = plan.arm(TASKS)
    for task in TASKS:
        assert plan.alone(task, "equal_steps", together).steps == together.steps
        passes = plan.alone(task, "equal_passes", together).steps * plan.run.train.batch_size / SIZES[task].rows
        assert passes == pytest.approx(plan.run.train.epochs)


def test_every_finalist_has_its_single_tasks_at_each_budget_and_seed(study: Study) -> None:
    plan = planner(study, seeds=[1, 2, 3], alone=["equal_passes", "equal_steps"])
    serves = {"first": ("first", "also_first"), "also_first": ("first", "also_first"), "last": ("last",)}
    arms = finalists(plan, serves)
    assert len(arms) == len(set(arms))
    for seed in (1, 2, 3):
        for task, group in serves.items():
            served = serving(plan, task, group, seed)
            assert served in arms
            assert {plan.alone(task, budget, served) for budget in plan.study.alone} <= set(arms)


def test_everything_is_the_sum_over_all_combinations(study: Study) -> None:
    plan = planner(study)
    assert plan.everything() == pytest.approx(sum(plan.tokens(plan.arm(group)) for group in plan.combinations()))


def test_an_exhaustive_search_holds_every_combination_of_several_once(study: Study) -> None:
    arms = searched(planner(study, search="exhaustive"))
    assert sorted(arm.tasks for arm in arms) == sorted(c for n in (2, 3) for c in combinations(TASKS, n))


def test_variants_are_every_schedule_with_every_seed(study: Study) -> None:
    arms = variants(planner(study, schedules=["sqrt", "anneal"], seeds=[1, 2]))
    assert [(arm.schedule, arm.seed) for arm in arms] == [("sqrt", 1), ("sqrt", 2), ("anneal", 1), ("anneal", 2)]
    assert len({(arm.tasks, arm.steps) for arm in arms}) == 1


def test_what_a_budget_leaves_is_what_the_baselines_do_not_take(study: Study) -> None:
    plan = planner(study, budget={"share": 0.9})
    fixed = sum(plan.tokens(arm) for arm in baselines(plan).arms)
    assert require_budget(plan) == pytest.approx(0.9 * plan.everything() - fixed)
    with pytest.raises(ConfigError, match=r"Raise it, or name `budget\.arms`"):
        require_budget(planner(study, budget={"share": 0.05}))


@pytest.mark.parametrize(
    ("budget", "most"), [({}, 3), ({"arms": 7}, 7), ({"share": 0.9}, float("inf")), ({"minutes": 5}, float("inf"))]
)
def test_without_a_budget_a_guided_search_trains_as_many_combinations_as_there_are_tasks(
    study: Study, budget: dict[str, float], most: float
) -> None:
    assert most_arms(planner(study, budget=budget)) == most
