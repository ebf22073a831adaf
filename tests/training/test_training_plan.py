"""Every setting of an adapter is resolved once: its own, or the run's."""

from collections.abc import Callable

import pytest

from multitune.config.schema import RunConfig
from multitune.training.plan import AdapterSpec
from multitune.training.prepare import prepare_run

Configure = Callable[..., RunConfig]


def specs(config: RunConfig) -> dict[str, AdapterSpec]:
    return {plan.spec.name: plan.spec for plan in prepare_run(config).plans}


def test_what_an_adapter_leaves_open_is_the_run_s(configure: Configure) -> None:
    config = configure(adapters=[{"name": "one"}], seed=5, mixture={"schedule": "sqrt"})
    assert specs(config)["one"] == AdapterSpec(
        name="one",
        tasks=("colours", "shapes"),
        general={},
        parent=None,
        train_parent=False,
        rank=4,
        alpha=8.0,
        seed=5,
        schedule="sqrt",
        steps=6,
        learning_rate=config.train.learning_rate or 2e-4,
    )


def test_what_an_adapter_states_is_its_own(configure: Configure) -> None:
    stated = {"rank": 2, "alpha": 3.0, "seed": 0, "schedule": "proportional", "steps": 2, "stack_on": "one"}
    spec = specs(configure(adapters=[{"name": "one"}, {"name": "two", **stated}]))["two"]
    assert (spec.rank, spec.alpha, spec.seed, spec.schedule, spec.steps, spec.parent) == tuple(stated.values())


def test_an_alpha_that_is_not_stated_keeps_the_scale_of_the_run(configure: Configure) -> None:
    assert specs(configure(adapters=[{"name": "wide", "rank": 32}]))["wide"].alpha == 64.0


@pytest.mark.parametrize(("alone", "steps"), [("equal_steps", 6), ("equal_passes", 3)])
def test_a_single_task_adapter_is_as_long_as_train_alone_says(configure: Configure, alone: str, steps: int) -> None:
    assert specs(configure(train={"alone": alone}))["colours"].steps == steps


def test_a_stated_length_wins_over_train_alone(configure: Configure) -> None:
    config = configure(adapters=["shared", {"name": "own", "tasks": ["colours"], "epochs": 2}])
    assert specs(config)["own"].steps == 20
