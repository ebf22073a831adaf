"""Tables of `check`: the sets of a run, and what its adapters draw from them."""

from multitune.core.records import SPLITS
from multitune.core.results.data import DataSummary
from multitune.core.results.run import CheckReport
from multitune.core.text import printable
from multitune.reporting.blocks import Cell, Table, header, number
from multitune.reporting.formatting import count, percent, score, short_count

MOST_LABELS = 12  # of a task
MOST_CHARACTERS = 60  # of a prompt in a line
BARS = "▁▂▃▄▅▆▇█"


def sets_table(report: CheckReport) -> Table:
    """Every set with its rows, and the tokens of its training rows."""
    rows = [
        [
            Cell(one.name),
            Cell(one.kind),
            Cell(one.metric or "(general)"),
            *(number(rows, count) for rows in one.rows.values()),
            *(number(value, short_count) for value in (one.tokens, one.loss_tokens, one.longest)),
            number(sum(one.too_long.values()) + one.held_elsewhere, count),
        ]
        for one in report.sets
    ]
    numbers = ["train", "valid.", "test", "tokens", "with loss", "longest", "left out"]
    columns = header("set", "kind", "metric", numbers)
    return Table("sets", "Rows and tokens of every set", columns, rows)


def labels_table(report: CheckReport) -> Table:
    """The labels of every classify task with their rows, the most frequent first."""
    rows: list[list[Cell]] = []
    for one in report.data:
        name = one.name
        for label in one.labels[:MOST_LABELS]:
            counts = [number(rows, count) for rows in label.rows.values()]
            rows.append([Cell(name), Cell(printable(label.label)), *counts])
            name = ""
        if more := one.labels[MOST_LABELS:]:
            sums = [number(sum(label.rows[split] for label in more), count) for split in SPLITS]
            rows.append([Cell(name), Cell(f"({len(more)} more)"), *sums])
    return Table("labels", "Labels of every task", header("task", "label", ["train", "valid.", "test"]), rows)


def length_line(one: DataSummary) -> str:
    """The lengths of training rows as a small histogram, from the shortest to the longest."""
    if not (one.shortest and one.longest):
        return f"{one.name}: no training rows"
    most = max(bin.rows for bin in one.lengths)
    bars = "".join(BARS[round((len(BARS) - 1) * bin.rows / most)] for bin in one.lengths)
    ends = f"{one.shortest.tokens} (row {one.shortest.id}) {bars} {one.longest.tokens} (row {one.longest.id})"
    return f"{one.name}: tokens of a training row {ends}"


def prompts_line(one: DataSummary) -> str:
    """How many training rows are asked by each of several prompts; empty where there is one."""
    shown = "; ".join(f"{count(prompt.rows)} by {_beginning(prompt.prompt)!r}" for prompt in one.prompts)
    return f"{one.name}: training rows asked {shown}. All others are asked by the first" if shown else ""


def _beginning(text: str) -> str:
    line = printable(text.replace("\n", "⏎"))
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"


def adapters_table(report: CheckReport) -> Table:
    """Every adapter with its steps, and the shares, draws and passes of each set it draws from."""
    rows: list[list[Cell]] = []
    for adapter in report.adapters:
        head = [Cell(adapter.name), number(adapter.steps, count)]
        for one in adapter.sets:
            shares = [number(share, percent, 1) for share in one.shares]
            draws = number(one.draws, count), number(one.passes, score, 1)
            rows.append([*head, Cell(one.name), *shares, *draws])
            head = [Cell(""), Cell("")]
    numbers = ["share at start", "middle", "end", "draws", "passes"]
    columns = header("adapter", ["steps"], "draws from", numbers)
    return Table("adapters", "What every adapter draws", columns, rows)
