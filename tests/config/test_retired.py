"""Run files of older versions: renamed fields are read, retired ones are dropped or refused with the reason."""

from collections.abc import Callable

import pytest

from multitune.config.load import dump_config
from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError

Load = Callable[..., RunConfig]
Tasks = Callable[..., str]
LISTED = "adapters: [{name: x, tasks: [a]}, {name: y, tasks: [a], %s}]"


def test_the_older_names_of_parent_fields_are_read(load: Load, tasks: Tasks) -> None:
    older = load(tasks("a") + LISTED % "on: x, joint: true")
    assert older == load(tasks("a") + LISTED % "stack_on: x, train_parent: true")
    assert "joint" not in dump_config(older)


def test_an_override_may_use_an_older_name(load: Load, tasks: Tasks) -> None:
    config = load(tasks("a") + LISTED % "rank: 4", "adapters.y.on=x")
    assert config.adapters[1].stack_on == "x"


def test_an_older_name_beside_the_newer_one_is_a_fault(load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match=r"adapters\[1\].on is not a field"):
        load(tasks("a") + LISTED % "on: x, stack_on: x")


def test_a_retired_field_that_asks_for_nothing_is_dropped(load: Load, tasks: Tasks) -> None:
    assert load(tasks("a") + "train: {balance: sum, epochs: 2}") == load(tasks("a") + "train: {epochs: 2}")


def test_a_retired_field_that_asks_for_something_is_refused_with_the_reason(load: Load, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match=r"train.balance is 'famo', which was removed: .* Remove the line"):
        load(tasks("a") + "train: {balance: famo}")


@pytest.mark.parametrize("field", ["max_abstained", "turned_away"])
@pytest.mark.parametrize(("share", "warned"), [(0.05, False), (0.1, True)])
def test_a_share_of_rejections_is_read_and_no_longer_holds(
    field: str, share: float, warned: bool, load: Load, tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    older = load(tasks("a") + f"router: {{{field}: {share}, kind: softmax}}")
    assert older == load(tasks("a") + "router: {kind: softmax}")
    assert any("router.outside_cost" in line for line in caplog.messages) == warned
