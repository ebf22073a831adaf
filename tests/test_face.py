"""The face: its names can be listed, and an unknown one is refused as in any module."""

import pytest

import multitune


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        _ = multitune.fit  # pyright: ignore[reportAttributeAccessIssue]


def test_dir_shows_the_whole_face() -> None:
    assert set(multitune.__all__) | {"__version__"} <= set(dir(multitune))
