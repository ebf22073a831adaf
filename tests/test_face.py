"""The face: functions keep their names beside the rooms, and an unknown name is refused as in any module."""

import pytest

import multitune


def test_importing_a_room_does_not_take_the_name_of_a_function() -> None:
    import multitune.evaluate.experiment
    import multitune.train.job

    assert multitune.train is multitune.evaluate.__globals__["run_experiment"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        _ = multitune.fit  # pyright: ignore[reportAttributeAccessIssue]


def test_dir_shows_the_whole_face() -> None:
    assert set(multitune.__all__) | {"__version__"} <= set(dir(multitune))
