"""What a search may change, and how far."""

from collections.abc import Callable

import pytest

from multitune.config.ranges import range_warnings
from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError
from multitune.tuning.space import applied, own_values, settings_of

Configure = Callable[..., RunConfig]


def fields(config: RunConfig, *ranges: str) -> list[str]:
    return [setting.field for setting in settings_of(config, ranges)[1]]


def test_a_search_moves_what_matters_within_the_usual_ranges(configure: Configure) -> None:
    config = configure()
    _, settings = settings_of(config)
    assert [s.field for s in settings] == ["train.learning_rate", "lora.rank", "train.epochs", "mixture.anneal_end"]
    for values in ({s.field: s.low for s in settings}, {s.field: s.high for s in settings}):
        warned = range_warnings(applied(config, values))
        assert [line for line in warned if "batch_size" not in line] == []


def test_steps_that_are_given_leave_no_passes_to_search(configure: Configure) -> None:
    assert "train.epochs" not in fields(configure(train={"max_steps": 4}))


@pytest.mark.parametrize(
    ("mixture", "moved"),
    [
        ({"schedule": "temperature"}, ["mixture.temperature"]),
        (
            {"schedule": "fixed", "shares": {"colours": 1, "shapes": 3}},
            ["mixture.shares.colours", "mixture.shares.shapes"],
        ),
        ({"schedule": "proportional"}, []),
    ],
)
def test_the_mixture_is_moved_as_its_schedule_allows(
    mixture: dict[str, object], moved: list[str], configure: Configure
) -> None:
    assert [field for field in fields(configure(mixture=mixture)) if field.startswith("mixture")] == moved


def test_alpha_goes_with_the_rank_and_shares_with_their_task(configure: Configure) -> None:
    config = configure(mixture={"schedule": "fixed", "shares": {"colours": 1, "shapes": 3}})
    moved = applied(config, {"lora.rank": 8, "mixture.shares.shapes": 1.23456, "train.learning_rate": 3e-4})
    assert (moved.lora.rank, moved.lora.alpha, moved.train.learning_rate) == (8, 16.0, 3e-4)
    assert moved.mixture.shares == {"colours": 1, "shapes": 1.23}
    assert moved.tasks == config.tasks and moved.output == config.output


def test_the_run_files_own_values_are_moved_into_the_ranges(configure: Configure) -> None:
    config = configure(lora={"rank": 12}, train={"epochs": 1, "learning_rate": 1e-3})
    own = own_values(settings_of(config)[1])
    assert own == {"train.learning_rate": 5e-4, "lora.rank": 16, "train.epochs": 3, "mixture.anneal_end": 0.2}


def test_a_range_of_ones_own_wins_and_one_number_fixes_a_field(configure: Configure) -> None:
    base, settings = settings_of(configure(), ["train.epochs=0.5, 2", "lora.rank=4"])
    found = {s.field: (s.low, s.high) for s in settings}
    assert found["train.epochs"] == (0.5, 2.0) and "lora.rank" not in found
    assert (base.lora.rank, base.lora.alpha) == (4, 8.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train.epoch=1,2", "Did you mean 'train.epochs'"),
        ("mixture.temperature=1,2", "nothing that this run can search"),
        ("train.epochs=2,1", "write train.epochs=low,high"),
        ("train.epochs=a,b", "write train.epochs=low,high"),
        ("train.epochs", "write train.epochs=low,high"),
        ("train.learning_rate=0,1e-3", "write train.learning_rate=low,high"),
        ("train.epochs=-1,3", "write train.epochs=low,high"),
    ],
)
def test_a_range_that_is_none_is_told(text: str, told: str, configure: Configure) -> None:
    with pytest.raises(ConfigError, match=told):
        settings_of(configure(), [text])
