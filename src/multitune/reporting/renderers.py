"""One table, three renderers: the terminal and Markdown here, HTML in templates/blocks.html.j2."""

import re
from typing import TYPE_CHECKING

from multitune.core.text import printable
from multitune.reporting.blocks import Table, Tone

if TYPE_CHECKING:
    from jinja2 import Environment
    from rich.table import Table as RichTable

STYLES: dict[Tone, str] = {"helped": "bold green", "hurt": "bold red", "unsure": "dim", "quiet": "", "": ""}
# What Markdown would act upon; an underscore within a word does nothing and stays.
_ACTIVE = re.compile(r"[\\`*{}\[\]<>#|~!&]|(?<!\w)_|_(?!\w)")


def templates(html: bool) -> "Environment":
    """The folder `templates`; in HTML every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("multitune.reporting"),
        autoescape=html,  # nosec B701  # off for Markdown alone
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
    )


def rich_table(table: Table) -> "RichTable":
    """A table for the terminal: no lines, numbers to the right and never broken."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in table.columns:
        shown.add_column(
            Text(printable(column.title)), justify="right" if column.number else "left", no_wrap=column.number
        )
    for row in table.rows:
        shown.add_row(*(Text(printable(cell.text), style=STYLES[cell.tone]) for cell in row))
    return shown


def markdown_table(table: Table) -> str:
    """A table in Markdown, whose cells stand there and do nothing."""
    head = f"| {' | '.join(inert(column.title) for column in table.columns)} |"
    line = f"|{'|'.join('---:' if column.number else '---' for column in table.columns)}|"
    return "\n".join([head, line, *(f"| {' | '.join(inert(cell.text) for cell in row)} |" for row in table.rows)])


def inert(text: object) -> str:
    """Text of unknown origin for Markdown, table cells included: it stands there and does nothing."""
    return _ACTIVE.sub(lambda match: "\\" + match[0], printable(text))
