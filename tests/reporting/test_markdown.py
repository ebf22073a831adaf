"""Text of unknown origin in Markdown: it reads as it was, and does nothing."""

import re

from hypothesis import given
from hypothesis import strategies as st

from multitune.core.text import printable
from multitune.reporting.blocks import Cell, Column, Table
from multitune.reporting.renderers import inert, markdown_table

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(TEXT)
def test_inert_text_is_the_text_with_every_active_sign_escaped(text: str) -> None:
    shown = inert(text)
    assert re.sub(r"\\([!-/:-@[-`{-~])", r"\1", shown) == printable(text)
    assert re.findall(r"(?<!\\)(?:\\\\)*[|<>`*\[\]#]", shown) == []


@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), max_size=4))
def test_a_table_keeps_its_columns_whatever_stands_in_it(rows: list[list[str]]) -> None:
    columns = [Column("a"), Column("b", number=True), Column("c")]
    text = markdown_table(Table("t", "", columns, [[Cell(cell) for cell in row] for row in rows]))
    lines = text.split("\n")
    assert len(lines) == 2 + len(rows)
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4


@given(TEXT)
def test_plain_text_is_one_line_of_printable_characters(text: str) -> None:
    assert printable(text).isprintable() and len(printable(text)) == len(text)


def test_names_of_metrics_and_adapters_stay_readable() -> None:
    assert inert("macro_f1") == "macro_f1" and inert("_x_") == "\\_x\\_"
