"""Tables of `check`: the sets of a run, and what its adapters draw from them."""

from multitune.core.results.run import CheckReport
from multitune.reporting.blocks import Cell, Table, header, number
from multitune.reporting.formatting import count, percent, score, short_count


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
