"""Numbers read the same everywhere, and no zero has a sign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.reporting.formatting import (
    chance,
    count,
    cut,
    duration,
    interval,
    listed,
    minus,
    percent,
    score,
    signed,
    size,
)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (score(0.31549), "0.315"),
        (score(None), "–"),
        (score(-0.2), "-0.200"),
        (signed(0.25), "+0.250"),
        (signed(-0.0001), "+0.000"),
        (signed(-4.26, 1), "-4.3"),
        (interval(-0.1, 0.2), "[-0.100, +0.200]"),
        (minus("[-0.100, +0.200] of x-3 and a -b"), "[−0.100, +0.200] of x-3 and a -b"),
        (chance(0.0002), "<0.001"),
        (percent(1.0, 1), "100%"),
        (percent(0.981, 1), "98.1%"),
        (count(1234), "1,234"),
        (count(139_400_000), "139.4 million"),
        (size(19_600_000), "19.6 MB"),
        (duration(0), "0 s"),
        (duration(45.4), "45 s"),
        (duration(720), "12 min"),
        (duration(5399), "1 h 30 min"),
        (duration(12_000), "3 h 20 min"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(list("abcdefgh"), 4), "a, b, c and 5 more"),
    ],
)
def test_a_number_is_shown_so(shown: str, text: str) -> None:
    assert shown == text


@given(st.text(max_size=300), st.integers(9, 120))
def test_a_text_that_is_cut_says_how_much_is_gone(text: str, most: int) -> None:
    shown = cut(text, most)
    if len(text) <= most:
        assert shown == text
    else:
        head, _, rest = shown.partition(" … [")
        gone, _, tail = rest.partition(" characters] … ")
        assert len(head) + int(gone.replace(",", "")) + len(tail) == len(text)
        assert text.startswith(head) and text.endswith(tail)


def test_where_there_is_nothing_nothing_is_said() -> None:
    assert listed([]) == "" and interval(None, 0.2) == ""
