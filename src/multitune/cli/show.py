"""What the verbs print at their end: tables of reporting.tables, and the sentences around them."""

from pathlib import Path
from typing import TYPE_CHECKING

from multitune.cli.output import WIDEST, open_console
from multitune.core.results.comparison import ModelComparison
from multitune.core.results.data import ShownRow
from multitune.core.results.robustness import Robustness
from multitune.core.results.routing import RoutingVersion, TaskChange
from multitune.core.results.run import CheckReport, SizeEstimate
from multitune.core.results.scores import Scores
from multitune.core.results.verification import Verification
from multitune.core.run_folder import RunFolder
from multitune.core.text import gib, printable
from multitune.reporting.blocks import Table
from multitune.reporting.formatting import count, duration
from multitune.reporting.renderers import rich_table
from multitune.reporting.sentences import (
    change_lines,
    cost_line,
    evidence_lines,
    few_rows_line,
    quality_lines,
    score_warnings,
    summary_line,
    usage_lines,
    view_lines,
)
from multitune.reporting.tables.check import (
    adapters_table,
    labels_table,
    length_line,
    prompts_line,
    sets_table,
)
from multitune.reporting.tables.comparison import PARSING, model_note, model_table
from multitune.reporting.tables.robustness import tables
from multitune.reporting.tables.routing import ROUTED_NOTE, change_table, choices_table, rejections_table, routed_table
from multitune.reporting.tables.scores import general_line, retention_table, transfer_note, transfer_table
from multitune.reporting.tables.verification import VERIFIED_NOTE, verification_table

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_CHARACTERS = 300  # of the beginning and of the end of a long text


def show_check(report: CheckReport, console: "Console") -> None:
    """What a run would do."""
    types = f"{report.quantization}, computed in {report.dtype}" if report.quantization else report.dtype
    say(
        console,
        f"{report.name}: {report.base} on {report.device} in {types}, method {report.method}, "
        f"learning rate {report.learning_rate:g}, {report.batch_size} rows a step, {report.schedule} mixture",
    )
    for one in report.data:
        for line in one.warnings:
            say(console, f"warning: {one.name}: {line}", "yellow")
    console.print()
    show_data(report, console)
    for table in (sets_table(report), adapters_table(report)):
        put(console, table)
        console.print()
    for one in report.adapters:
        if one.learning_rate not in (None, report.learning_rate):
            say(console, f"learning rate         {one.learning_rate:g} for {one.name}")
    if report.seeds > 1:
        say(console, f"seeds                 {report.seeds} of every adapter; the first one ships")
    if report.budget == "convergence" and len(report.adapters) > 1:
        say(console, "steps and time        at most: every adapter ends when its own validation stops gaining")
    need = report.estimate
    say(console, f"trainable parameters  {need.trainable_parameters:,} beside a base of {need.parameters:,}")
    say(console, f"tokens to train on    {count(need.executed_tokens)}, shared prefixes counted once")
    show_memory(need, console)
    say(console, f"time, about           {duration(need.seconds)}, evaluation included (within a factor of two)")
    for line in report.warnings:
        say(console, f"warning: {line}", "yellow")
    if report.audit:
        from multitune.training.audit import audit_notes

        kind, style = ("warning", "yellow") if report.audit.blocking else ("note", "dim")
        for line in audit_notes(report.audit):
            say(console, f"{kind}: {line}", style)
    for line in report.notes:
        say(console, f"note: {line}", "dim")


def show_memory(need: SizeEstimate, console: "Console") -> None:
    """The expected peak by its parts, and which layers are computed again."""
    parts = f": {need.memory.line}" if need.memory else ""  # none in an older report
    say(console, f"memory, about         {gib(need.memory_bytes)}{parts}")
    budget = f"within {gib(need.memory_budget)}: " if need.memory_budget else ""
    if again := need.recomputed:
        which = "all" if again.layers == again.of else f"the first {again.layers} of"
        say(
            console,
            f"recomputed            {budget}{which} {again.of} layers are computed again on the way back, about "
            f"{again.slowdown - 1:.0%} slower, with the same result",
        )
    elif budget:
        say(console, f"recomputed            {budget}no layer has to be computed again")


def show_data(report: CheckReport, console: "Console") -> None:
    """Labels, and of each set one row as the model reads it."""
    labels = labels_table(report)
    if labels.rows:
        put(console, labels)
        console.print()
    if report.data:
        say(
            console,
            "One row of each set as the model reads it: control tokens in [ ], and behind → what carries loss.",
        )
    for one in report.data:
        say(console, length_line(one), "bold")
        if prompts := prompts_line(one):
            say(console, prompts)
        if one.example:
            say(console, _as_read(one.example), "dim")
        console.print()


def _as_read(row: ShownRow) -> str:
    """A row in one text, of which long parts show their ends."""
    parts: list[str] = []
    for piece, before in zip(row.pieces, (None, *row.pieces), strict=False):
        text = "\n".join(map(printable, piece.text.split("\n")))
        if len(text) > 2 * SHOWN_CHARACTERS:
            text = f"{text[:SHOWN_CHARACTERS]} … {text[-SHOWN_CHARACTERS:]}"
        begins = piece.loss and not (before and before.loss)
        parts.append(f"{'→' if begins else ''}{f'[{text}]' if piece.control else text}")
    return "".join(parts)


def show_scores(scores: Scores, folder: Path, console: "Console") -> None:
    """The transfer tables, what was kept, and where it all is."""
    console.print()
    put(console, transfer_table(scores))
    say(console, transfer_note(scores), "dim")
    for warning in score_warnings(scores):
        say(console, f"warning: {warning}", "yellow")
    if scores.retention:
        put(console, retention_table(scores.retention))
    for name, table in scores.transfer.items():
        if len(table.tasks) > 1:
            say(console, f"{name}: {summary_line(table.summary)}", "bold")
            for line in evidence_lines(scores, name):
                say(console, f"  {line}")
    for name in scores.general:
        say(console, general_line(scores, name))
    say(console, f"run folder: {folder}")


def show_robustness(found: Robustness, folder: Path, console: "Console") -> None:
    """Each table, with what it says and what to do."""
    for table, (note, *lines) in tables(found):
        console.print()
        put(console, table)
        say(console, note, "dim")
        for line in lines:
            say(console, line)
    say(console, f"robustness: {RunFolder(folder).robustness}")


def show_routing(found: RoutingVersion, folder: Path, console: "Console") -> None:
    """A routing version: choices, costs, scores under the router, and its quality."""
    console.print()
    put(console, choices_table(found.table))
    if few := few_rows_line(found.table):
        say(console, f"warning: {few}", "yellow")
    say(console, cost_line(found.table.cost), "bold")
    if found.table.cost.droppable:
        say(console, f"no task ships with: {', '.join(found.table.cost.droppable)}. They can be dropped")
    if found.report:
        console.print()
        put(console, routed_table(found.report))
        say(console, f"{ROUTED_NOTE}; {found.report.rows} rows", "dim")
        if rejections := rejections_table(found.report):
            console.print()
            put(console, rejections)
        for line in quality_lines(found.report):
            say(console, line)
    elif found.change:
        for line in view_lines(found.change.views):
            say(console, line)
    say(console, f"routing version: {folder / 'routing' / found.version}")


def show_change(change: TaskChange, folder: Path, console: "Console") -> None:
    """What adding or removing a task did to the others."""
    console.print()
    put(console, change_table(change))
    first, *rest = change_lines(change)
    say(console, first, "bold")
    for line in rest:
        say(console, line)
    say(console, f"routing version: {folder / 'routing' / change.version}")


def show_comparison(found: ModelComparison, folder: Path, console: "Console") -> None:
    """The tables of a comparison with another model, under both ways to parse."""
    say(console, "")
    for parsing in found.parsing:
        say(console, f"{parsing}: {PARSING[parsing]}", "bold")
        put(console, model_table(found, parsing))
        say(console, "")
    say(console, model_note(found), "dim")
    adapters = set(found.ours.values())
    by_task = ", ".join(f"{task} by {adapter}" for task, adapter in found.ours.items())
    say(console, f"ours: {adapters.pop() if len(adapters) == 1 else by_task}")
    for line in usage_lines(found.usage) if found.usage else ():
        say(console, line)
    say(console, f"comparison: {RunFolder(folder).comparison(found.subject)}")


def show_verification(found: Verification, console: "Console") -> None:
    """Task by task, and the verdict."""
    if found.tasks:
        put(console, verification_table(found))
        say(console, VERIFIED_NOTE, "dim")
    say(console, found.sentence, "bold green" if found.same else "bold red")


def put(console: "Console", table: Table) -> None:
    """A table, as wide as the terminal; in a file or a pipe as wide as it needs, a row a line."""
    shown = rich_table(table)
    if not console.is_terminal:
        for column in shown.columns:
            column.no_wrap = True
        console = open_console(file=console.file, width=WIDEST)  # a table is never wider than it needs
    console.print(shown)


def say(console: "Console", line: str, style: str = "") -> None:
    """One line, which a log's reader breaks as he likes."""
    from rich.text import Text

    console.print(Text(line, style=style), soft_wrap=not console.is_terminal)
