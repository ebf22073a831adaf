"""What a study would train and what it found, as tables, and the flags of the command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from multitune.cli.show import COLOURS, add_numbers, new_table, say, span
from multitune.reporting.lines import summary_line


class Executes(StrEnum):
    """Who trains the arms of a study."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True)
class StudyFlags:
    """Options of `multitune study`."""

    plan: Annotated[bool, typer.Option("--plan", help="Show what would be trained, and end.")] = False
    executor: Annotated[Executes, typer.Option(help="Who trains: this process, or the workers of a Ray cluster.")] = (
        Executes.LOCAL
    )
    ray_address: Annotated[str | None, typer.Option(help="Ray cluster; one on this machine when absent.")] = None
    ray_cpus: Annotated[float, typer.Option(min=0.1, help="Cores for each worker of Ray.")] = 1


def study_file(file: Path, overrides: Sequence[str], flags: StudyFlags, console: Console) -> dict[str, Any]:
    """Run a study, or plan it: {"plan": …} or {"findings": …, "folder": …}.

    Raises:
        InputError: a fault in the file, its data or its budget, or no cluster.
    """
    from multitune.config.study import load_study  # here, so that `--help` need not wait for pydantic and torch

    settings, run = load_study(file, overrides)
    from multitune.cli.watch import Watch
    from multitune.study.executors import RayExecutor
    from multitune.study.study import StudyOptions, plan_report, run_study

    if flags.plan:
        return {"plan": plan_report(settings, run)}
    with Watch(console) as watch:
        ray = flags.executor is Executes.RAY
        workers = RayExecutor(flags.ray_address, flags.ray_cpus, watch) if ray else None
        found = run_study(settings, run, StudyOptions(workers, watch))
    return {"findings": found, "folder": str(Path(settings.output) / settings.name)}


def show_study(found: Mapping[str, Any], console: Console) -> None:
    """What `study_file` brought back."""
    if "plan" in found:
        show_plan(found["plan"], console)
    else:
        show_findings(found["findings"], Path(found["folder"]), console)


def show_plan(report: Mapping[str, Any], console: Console) -> None:
    """What `study.study.plan_report` says."""
    tasks = ", ".join(f"{name} ({rows:,})" for name, rows in report["tasks"].items())
    say(console, f"{report['study']}: {len(report['tasks'])} tasks with training rows: {tasks}")
    table = new_table("part")
    add_numbers(table, "arms", "tokens", "of everything")
    everything = report["everything_tokens"]
    total = 0.0
    for part in report["parts"]:
        tokens = part["tokens"]
        total += tokens or 0.0
        arms = "" if not part["arms"] else f"{part['arms']:,}"
        cells = ("as the budget allows", "") if tokens is None else (f"{tokens:,.0f}", f"{tokens / everything:.1%}")
        table.add_row(Text(part["what"]), arms, *cells)
    table.add_row("sum", "", f"{total:,.0f}", f"{total / everything:.1%}")
    console.print(table)
    say(console, f"training all {report['combinations']:,} combinations once would take {everything:,.0f} tokens")
    say(console, f"{report['arms_at_once']} arms train side by side; nothing was trained yet", "dim")


def show_findings(found: Mapping[str, Any], folder: Path, console: Console) -> None:
    """What `study.findings` gathered."""
    console.print()
    say(console, found["sentence"], "bold")
    for group in found["recommended"]["groups"]:
        say(console, f"{'together' if len(group) > 1 else 'alone'}: {', '.join(group)}")
    for task, steps in found["recommended"]["longer_alone"].items():
        say(console, f"alone for {steps:,} steps, as many as its group takes: {task}")
    for name, comparison in found["comparisons"].items():
        console.print()
        say(console, f"{name.replace('_', ' ')}, {comparison['rows']} rows", "bold")
        console.print(_comparison(comparison))
        say(console, summary_line(comparison["summary"]))
    for variant in found["variants"]:
        share = f", {variant['general']:.0%} general" if variant["general"] else ""
        seeds = f"{len(variant['seeds'])} seeds"
        say(console, f"{variant['schedule']}{share} ({seeds}): {summary_line(variant['summary'])}")
    console.print()
    say(console, "who helps whom: points that the row's task gains by being trained with the column's", "bold")
    console.print(_helps(found["helps"]))
    console.print()
    console.print(_ladder(found))
    cost = found["cost"]
    say(
        console,
        f"the search took {cost['spent_seconds'] / 60:.1f} minutes, {cost['estimate_seconds'] / 60:.1f} of them for "
        f"estimates; all combinations would take {cost['everything_seconds'] / 60:.1f}: {cost['ratio']:.1f} times as "
        f"long ({cost['measured_share']:.0%} of them were trained)",
    )
    say(console, f"to train what is recommended: multitune train {folder / 'recommended.yaml'}")
    say(console, f"study folder: {folder}")


def _comparison(comparison: Mapping[str, Any]) -> Table:
    table = new_table("task", "metric", "trained with")
    add_numbers(table, "n", "base", "alone", "together", "difference", "p")
    table.add_column("verdict", no_wrap=True)
    for row in comparison["tasks"]:
        others = ", ".join(name for name in row["group"] if name != row["task"]) or "–"
        scores = [f"{row[name]:.3f}" for name in ("base", "alone", "together")]
        p = "<0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
        verdict = Text(row["verdict"], style=COLOURS[row["verdict"]])
        table.add_row(
            Text(row["task"]), row["metric"], Text(others), f"{row['examples']:,}", *scores, span(row), p, verdict
        )
    return table


def _helps(helps: Mapping[str, Any]) -> Table:
    table = new_table("")
    add_numbers(table, *helps["tasks"])
    for task, points, verdicts in zip(helps["tasks"], helps["points"], helps["verdict"], strict=True):
        cells = [
            Text("" if value is None else f"{value:+.1f}", style=COLOURS.get(verdict or "", ""))
            for value, verdict in zip(points, verdicts, strict=True)
        ]
        table.add_row(Text(task), *cells)
    return table


def _ladder(found: Mapping[str, Any]) -> Table:
    table = new_table("a cheap look", "predicts")
    add_numbers(table, "rank correlation", "regret, points", "pairs", "seconds")
    for rung in found["ladder"]:
        if rung["low"] is None:
            correlation = "cannot tell"
        else:
            correlation = f"{rung['rank_correlation']:+.2f} [{rung['low']:+.2f}, {rung['high']:+.2f}]"
        seconds = "" if rung["seconds"] is None else f"{rung['seconds']:.1f}"
        lost = "" if rung["regret"] is None else f"{rung['regret']:.1f}"
        table.add_row(rung["rung"], rung["against"], correlation, lost, str(rung["pairs"]), seconds)
    return table
