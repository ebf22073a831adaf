"""The tables that `select`, `add` and `remove` end with: what each task ships with, and what the router is worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from multitune.cli.show import add_numbers, new_table, say, span
from multitune.reporting.lines import cost_line, quality_lines


def show_routing(found: Mapping[str, Any], folder: Path, console: Console) -> None:
    """A routing version (see deployment.deploy): choices, costs, scores under the router, and its quality."""
    console.print()
    console.print(_choices(found["table"]))
    say(console, cost_line(found["table"]["cost"]), "bold")
    if droppable := found["table"]["cost"]["droppable"]:
        say(console, f"no task ships with: {', '.join(droppable)}. They can be dropped")
    console.print()
    console.print(_under_the_router(found["report"]))
    say(
        console,
        "oracle: each task by the adapter it ships with; routed: chosen by the whole prompt; by body: chosen by what "
        f"the prompts of a task do not share; differences to oracle, with intervals; {found['report']['rows']} rows",
        "dim",
    )
    for line in quality_lines(found["report"]):
        say(console, line)
    say(console, f"routing version: {folder / 'routing' / found['version']}")


def _choices(table: Mapping[str, Any]) -> Any:
    shown = new_table("task", "metric")
    add_numbers(shown, "n")
    for column in ("ships with", "because"):
        shown.add_column(column)
    for task, row in table["tasks"].items():
        shown.add_row(Text(task), row["metric"], str(row["examples"]), Text(row["adapter"]), Text(row["why"]))
    return shown


def _under_the_router(report: Mapping[str, Any]) -> Any:
    shown = new_table("task", "metric")
    uniform = report.get("rivals", {}).get("uniform")
    first = ("base", "uniform", "oracle", "routed") if uniform else ("base", "oracle", "routed")
    add_numbers(shown, "n", *first, "difference", "by body", "difference")
    for task, row in report["tasks"].items():
        scores = {**row["scores"], "uniform": uniform["scores"][task] if uniform else 0.0}
        numbers = [f"{scores[name]:.3f}" for name in first]
        by_body = f"{scores['routed_body']:.3f}", span(row["routed_body"])
        shown.add_row(Text(task), row["metric"], str(row["examples"]), *numbers, span(row["routed"]), *by_body)
    return shown


def show_change(change: Mapping[str, Any], folder: Path, console: Console) -> None:
    """What adding or removing a task did to the others (see deployment.extend)."""
    console.print()
    shown = new_table("task")
    add_numbers(shown, "validation rows rerouted", "score before", "after")
    for task, share in change["routes_changed"].items():
        scores = change["scores"][task]
        shown.add_row(Text(task), f"{share:.1%}", f"{scores['before']:.3f}", f"{scores['after']:.3f}")
    console.print(shown)
    if change["added"]:
        row = change["choice"]
        say(console, f"{change['added']} ships with {row['adapter']} ({row['metric']}): {row['why']}", "bold")
    else:
        say(console, f"{change['removed']} is routed to no more", "bold")
    changed = (*change["files_changed"], *change["logits_changed"])
    same = f"{change['files']} older files are byte for byte what they were, older tasks' logits bit for bit"
    say(console, f"CHANGED: {', '.join(changed)}" if changed else same)
    accuracy = ", ".join(f"by {view} {value:.1%}" for view, value in change["accuracy"].items())
    say(console, f"router, right task {accuracy}")
    say(console, f"routing version: {folder / 'routing' / change['version']}")
