"""The tables that `check`, `train` and `eval` end with, made from plain values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from multitune.cli.watch import duration
from multitune.reporting.lines import summary_line

COLOURS = {"helped": "bold green", "hurt": "bold red", "cannot tell": "dim"}


def show_check(report: Mapping[str, Any], console: Console) -> None:
    """What `cli.check.check_run` found."""
    say(
        console,
        f"{report['name']}: {report['base']} on {report['device']} in {report['dtype']}, method {report['method']}, "
        f"learning rate {report['learning_rate']:g}, {report['batch_size']} rows a step, {report['schedule']} mixture",
    )
    console.print()
    for table in (_sets_table(report["sets"]), _adapters_table(report["adapters"])):
        console.print(table)
        console.print()
    size = report["estimate"]
    say(console, f"trainable parameters  {size['trainable_parameters']:,} beside a base of {size['parameters']:,}")
    say(console, f"tokens to train on    {size['executed_tokens']:,}, shared prefixes counted once")
    say(console, f"memory, about         {size['memory_bytes'] / 1e9:.1f} GB")
    say(console, f"time, about           {duration(size['seconds'])}, evaluation included (within a factor of two)")
    for line in report["warnings"]:
        say(console, f"warning: {line}", "yellow")
    for line in report["notes"]:
        say(console, f"note: {line}", "dim")


def _sets_table(sets: Sequence[Mapping[str, Any]]) -> Table:
    table = new_table("set", "kind", "metric")
    add_numbers(table, "train", "valid.", "test", "tokens", "with loss", "longest", "left out")
    for one in sets:
        table.add_row(
            Text(one["name"]),
            one["kind"],
            one["metric"] or "(general)",
            *(f"{count:,}" for count in one["rows"].values()),
            _count(one["tokens"]),
            _count(one["loss_tokens"]),
            f"{one['longest']:,}",
            f"{sum(one['too_long'].values()):,}",
        )
    return table


def _adapters_table(adapters: Sequence[Mapping[str, Any]]) -> Table:
    table = new_table("adapter")
    add_numbers(table, "steps")
    table.add_column("draws from")
    add_numbers(table, "share at start", "middle", "end", "draws", "passes")
    for adapter in adapters:
        head = (Text(adapter["name"]), f"{adapter['steps']:,}")
        for one in adapter["sets"]:
            shares = [f"{share:.1%}" for share in one["shares"]]
            table.add_row(*head, Text(one["name"]), *shares, f"{one['draws']:,.0f}", f"{one['passes']:.1f}")
            head = (Text(), "")
    return table


def show_scores(scores: Mapping[str, Any], folder: Path, console: Console) -> None:
    """The transfer tables of scores.json (see evaluation.scores), what was kept, and where it all is."""
    transfer = scores["transfer"]
    console.print()
    console.print(_transfer_table(scores))
    say(
        console,
        f"difference: together − alone, or − base where no adapter learned the task alone; {scores['confidence']:.0%} "
        f"interval from {scores['resamples']} resamples of the {scores['split']} rows; p adjusted by Holm",
        "dim",
    )
    if scores["retention"]:
        console.print(_kept_table(scores["retention"]))
    for name, table in transfer.items():
        if len(table["tasks"]) > 1:
            say(console, f"{name}: {summary_line(table['summary'])}", "bold")
    for name, kept in scores["general"].items():
        base, *after = [f"{subject} {loss:.3f}" for subject, loss in kept["loss"].items()]
        say(console, f"general data, loss on {name} before → after: {base} → {', '.join(after)}")
    say(console, f"run folder: {folder}")


def _transfer_table(scores: Mapping[str, Any]) -> Table:
    transfer = scores["transfer"]
    table = new_table(*(["adapter"] if len(transfer) > 1 else []), "task", "metric")
    add_numbers(table, "n", "base", "alone", "together", "difference", "p")
    table.add_column("verdict", no_wrap=True)
    for name, part in transfer.items():
        for row in part["tasks"]:
            cells = [Text(name)] if len(transfer) > 1 else []
            table.add_row(
                *cells,
                Text(row["task"]),
                row["metric"],
                f"{row['examples']:,}",
                _score(row["base"]),
                _score(row["alone"]),
                _score(row["together"]),
                span(row),
                "<0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}",
                Text(row["verdict"], style=COLOURS[row["verdict"]]),
            )
    return table


def _kept_table(retention: Mapping[str, Any]) -> Table:
    """What the base knew before and each compared adapter after, on sets that nothing trained on."""
    table = new_table("kept", "metric")
    add_numbers(table, "n", "base")
    table.add_column("adapter")
    add_numbers(table, "after", "difference")
    for name, kept in retention.items():
        base, n = kept["scores"]["base"], f"{kept['examples']:,}"
        for adapter, change in kept["change"].items():
            after = kept["scores"][adapter]
            scores = (_score(base["score"]), Text(adapter), _score(after["score"]))
            table.add_row(Text(name), kept["metric"], n, *scores, span(change))
            if kept["kind"] == "generate":
                losses = (_score(base["loss"]), Text(adapter), _score(after["loss"]))
                table.add_row(Text(name), "loss", n, *losses, f"{after['loss'] - base['loss']:+.3f}")
    return table


def span(row: Mapping[str, Any]) -> Text:
    """A difference with its interval; brackets are no markup here."""
    return Text(f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]")


def _count(tokens: int) -> str:
    return f"{tokens:,}" if tokens < 1_000_000 else f"{tokens / 1e6:,.1f}M"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def new_table(*columns: str) -> Table:
    """A table without lines, with columns of text."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def add_numbers(table: Table, *columns: str) -> None:
    """More columns, set to the right."""
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)


def say(console: Console, line: str, style: str = "") -> None:
    """One line, which a log's reader breaks as he likes."""
    console.print(Text(line, style=style), soft_wrap=not console.is_terminal)
