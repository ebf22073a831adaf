"""Which adapters a run trains."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from multitune.config.adapters import expand_adapters
from multitune.config.schema import AdapterConfig, RunConfig
from multitune.core.errors import ConfigError

Load = Callable[..., RunConfig]
Tasks = Callable[..., str]

SHARED = AdapterConfig(name="shared", tasks=("a", "b"))
RESIDUAL = tuple(
    AdapterConfig(name=f"{name}.residual", tasks=(name,), general=False, stack_on="shared") for name in "ab"
)
ALONE = tuple(AdapterConfig(name=name, tasks=(name,), general=False) for name in "ab")


@pytest.mark.parametrize(
    ("adapters", "expanded"),
    [
        ("shared", (SHARED,)),
        ("per_task", ALONE),
        ("residual", (SHARED, *RESIDUAL)),
        ("mixture", (SHARED, *RESIDUAL, *ALONE)),
        ("[shared, per_task]", (SHARED, *ALONE)),
    ],
)
def test_a_word_stands_for_its_adapters(
    adapters: str, expanded: tuple[AdapterConfig, ...], load: Load, tasks: Tasks
) -> None:
    assert expand_adapters(load(tasks("a", "b") + f"adapters: {adapters}")) == expanded


def test_a_list_is_taken_as_it_is(load: Load, tasks: Tasks) -> None:
    config = load(tasks("a", "b") + "adapters: [{name: x, tasks: [b, a]}, {name: b, tasks: [a], steps: 5}]")
    assert expand_adapters(config) == config.adapters


def test_the_mixture_of_one_task_is_one_adapter_with_the_general_members(load: Load, tasks: Tasks) -> None:
    assert expand_adapters(load(tasks("a"))) == (AdapterConfig(name="a", tasks=("a",), general=True),)


@pytest.mark.parametrize(("name", "adapters"), [("shared", "mixture"), ("base", "mixture"), ("base", "per_task")])
def test_a_task_does_not_take_the_name_of_another_row(name: str, adapters: str, load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match=f"tasks: the name of a task .* is '{name}', which names"):
        load(tasks("a", name) + f"adapters: {adapters}")


@pytest.mark.parametrize(("name", "adapters"), [("shared", "shared"), ("shared", "per_task"), ("base", "shared")])
def test_a_name_that_no_adapter_takes_is_free(name: str, adapters: str, load: Load, tasks: Tasks) -> None:
    assert load(tasks("a", name) + f"adapters: {adapters}").tasks[1].name == name


def test_all_faults_of_a_list_are_told(load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tasks("tweets") + "adapters: [{name: base, tasks: [tweet]}, {name: x, tasks: [tweets, tweets]}]\n")
    assert [line.partition("run.yaml: ")[2] for line in str(caught.value).split("\n")] == [
        "adapters[0].name is 'base', which names the model without adapters. Choose another name",
        "adapters[0].tasks[0]: 'tweet' is not a task. Did you mean 'tweets'? All: tweets",
        "adapters[1].tasks[1]: 'tweets' is listed twice. Remove one of them",
    ]


def test_a_list_mixes_words_and_adapters(load: Load, tasks: Tasks) -> None:
    config = load(tasks("a", "b", "c") + "adapters: [shared, {name: ab, tasks: [a, b]}, residual]")
    names = [adapter.name for adapter in expand_adapters(config)]
    assert names == ["shared", "ab", "a.residual", "b.residual", "c.residual"]


@pytest.mark.parametrize(
    ("adapters", "fault"),
    [
        (
            "[residual]",
            "adapters[0].stack_on: 'shared' is neither an adapter before it in the list nor",
        ),
        ("[residual, shared]", "adapters[0].stack_on: 'shared' must come before 'a.residual' in the list"),
        ("[{name: x, tasks: [a], stack_on: x}]", "adapters[0].stack_on: 'x' must come before 'x'"),
        ("[{name: x, tasks: [a], train_parent: true}]", "adapters[0].train_parent is true, but it has no parent"),
        (
            "[{name: x, tasks: [a], stack_on: ./there, train_parent: true}]",
            "is a finished adapter, which stays as it is",
        ),
    ],
)
def test_an_adapter_stacks_on_one_that_is_there(
    adapters: str, fault: str, load: Load, tasks: Tasks, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match=re.escape(fault)):
        load(tasks("a") + f"adapters: {adapters}")


def test_two_adapters_of_one_name_are_refused(load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match=r"adapters\[1\].name is 'x', which names another adapter"):
        load(tasks("a") + "adapters: [{name: x, tasks: [a]}, {name: x, tasks: [a]}]")


def test_a_config_made_in_python_is_checked_too(load: Load, tasks: Tasks) -> None:
    config = load(tasks("a")).model_copy(update={"adapters": (AdapterConfig(name="x", tasks=("b",)),)})
    with pytest.raises(ConfigError, match="'b' is not a task"):
        expand_adapters(config)
