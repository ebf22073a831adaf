"""A template of columns alone is joined without Jinja, and writes what Jinja writes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.core.errors import TaskError
from multitune.tasks.template import Template

SOURCES = [
    "{{ text }}",
    "Which intent?\n\n{{ text }}\n",
    "{{text}} and {{ number }}{{ text }}",
    "  {{ text }}  \n  {{ number }}\n\n",
    "no column",
    "{# a note #}\n{{ text }}",
]
VALUES = st.one_of(
    st.text(), st.integers(), st.booleans(), st.none(), st.floats(), st.just("{{ text }}"), st.just("<b>&amp;</b>")
)


def by_jinja(source: str, row: dict[str, Any]) -> str:
    """The text that Jinja writes: a condition that always holds is more than a column."""
    return Template(source + "{% if true %}{% endif %}", "task").render(row)


@pytest.mark.parametrize("source", SOURCES)
@given(text=VALUES, number=VALUES)
def test_it_writes_what_jinja_writes(source: str, text: Any, number: Any) -> None:
    row = {"text": text, "number": number, "other": "never"}
    assert Template(source.rstrip("\n"), "task").render(row) == by_jinja(source.rstrip("\n"), row)


@pytest.mark.parametrize("source", SOURCES)
def test_a_last_line_break_is_left_out_as_jinja_does(source: str) -> None:
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    row = {"text": "a", "number": 7}
    assert Template(source, "task").render(row) == environment.from_string(source).render(row)


@pytest.mark.parametrize(
    ("row", "says"),
    [({"number": 1}, "'text' is undefined"), ({"text": ["a"]}, "holds a list"), ({"text": b"a"}, "bytes")],
)
def test_what_it_cannot_join_is_told_as_ever(row: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        Template("say {{ text }}", "task").render(row)


def test_the_row_itself_is_no_column() -> None:
    assert Template("{{ row['a b'] }}{{ text }}", "task").render({"a b": "x", "text": "y"}) == "xy"
