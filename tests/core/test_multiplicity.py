"""Holm's adjustment of p-values: textbook values and laws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitune.core.multiplicity import holm


def test_holm_gives_the_textbook_values():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )


def test_holm_of_no_tasks_is_empty():
    assert holm({}) == {}


@given(st.dictionaries(st.text("abcdef", min_size=1), st.floats(0, 1), min_size=1))
@settings(max_examples=50)
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    assert all(p <= adjusted[name] <= min(1.0, p * len(p_values)) for name, p in p_values.items())
    ordered = sorted(p_values, key=lambda name: p_values[name])
    assert [adjusted[name] for name in ordered] == sorted(adjusted.values())
