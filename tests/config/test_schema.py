"""What fields may say about each other."""

from collections.abc import Callable

import pytest

from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError

Load = Callable[..., RunConfig]
Tasks = Callable[..., str]


@pytest.mark.parametrize("shares", ["", "shares: {a: 1}", "shares: {a: 1, bb: 1}"])
def test_fixed_needs_a_share_for_every_task(load: Load, tasks: Tasks, shares: str) -> None:
    with pytest.raises(ConfigError, match=r"mixture.shares: `schedule: fixed` needs a share for (a, )?b$"):
        load(tasks("a", "b") + f"mixture: {{schedule: fixed, {shares}}}")


def test_an_unknown_name_in_shares_is_told_with_the_nearest(load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match=r"mixture.shares: 'tweet' is not a task .* Did you mean 'tweets'"):
        load(tasks("tweets") + "mixture: {schedule: fixed, shares: {tweets: 1, tweet: 1}}")


def test_a_task_with_a_share_of_its_own_needs_none_of_fixed(load: Load, tasks: Tasks) -> None:
    text = tasks("a", "b") + "mixture: {schedule: fixed, shares: {a: 2}}"
    assert load(text, "tasks.b.share=0.2").mixture.shares == {"a": 2.0}


def test_another_schedule_does_not_look_at_shares(load: Load, tasks: Tasks) -> None:
    assert load(tasks("a") + "mixture: {shares: {other: 1}}").mixture.schedule == "anneal"


def test_full_trains_one_shared_model_by_default(load: Load, tasks: Tasks) -> None:
    assert load(tasks("a", "b") + "method: full").adapters == "shared"


@pytest.mark.parametrize("adapters", ["mixture", "per_task", "[{name: x, tasks: [a]}, {name: y, tasks: [a]}]"])
def test_full_refuses_several_models(load: Load, tasks: Tasks, adapters: str) -> None:
    with pytest.raises(ConfigError, match=r"each would be a whole model. Use `shared` or a list of one"):
        load(tasks("a") + f"method: full\nadapters: {adapters}")


def test_full_takes_a_list_of_one(load: Load, tasks: Tasks) -> None:
    assert load(tasks("a") + "method: full\nadapters: [{name: x, tasks: [a]}]").adapters[0].name == "x"


def test_a_general_set_needs_a_share(library: object, load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match=r"general: 'maths' needs a `share`, such as 0.1"):
        load(tasks("a") + "general: [{use: maths}]")


@pytest.mark.parametrize("name", ["a", "facts", "twice"])
def test_a_retention_set_has_a_name_of_its_own(library: object, load: Load, tasks: Tasks, name: str) -> None:
    twice = "{use: maths, name: twice}, " * (name == "twice")
    sets = f"general: [{{use: facts, share: 0.1}}]\nretention: [{twice}{{use: maths, name: {name}}}]"
    with pytest.raises(ConfigError, match=f"retention: another set is named '{name}' too; give one of them another"):
        load(tasks("a") + sets)


def test_a_retention_set_has_no_share(library: object, load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match="retention: 'maths' has a `share`, but is never trained on; remove"):
        load(tasks("a") + "retention: [{use: maths, share: 0.1}]")


def test_fixed_shares_leave_room_for_the_tasks(library: object, load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match="the fixed shares add up to 1 or more"):
        load(tasks("a") + "general: [{use: maths, share: 0.5}, {use: facts, share: 0.5}]")
