"""`study`: what a study would train, or what it found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitune.cli.next_steps import say_next
from multitune.cli.options import AsJson, Overrides
from multitune.cli.output import hush, open_console, print_json, results
from multitune.core.errors import ConfigError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.core.results.study import Findings, StudyPlan

EXECUTORS = ("local", "ray")


def study(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study file, in YAML.")],
    overrides: Overrides = None,
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be trained, and end.")] = False,
    executor: Annotated[
        str, typer.Option(metavar="local|ray", help="Who trains: this process, or the workers of a Ray cluster.")
    ] = "local",
    ray_address: Annotated[str | None, typer.Option(help="Ray cluster; one on this machine when absent.")] = None,
    ray_cpus: Annotated[float, typer.Option(min=0.1, help="Cores for each worker of Ray.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Find out which tasks belong together, at a part of the cost of training every combination."""
    hush()
    if executor not in EXECUTORS:
        raise ConfigError(f"--executor {executor}: {suggest(executor, EXECUTORS)}")
    from multitune.config.study import load_study  # here, so that `--help` need not wait for pydantic and torch

    settings, run = load_study(file, overrides or ())
    from multitune.cli.watch import Watch
    from multitune.study.executors import RayExecutor
    from multitune.study.study import plan_report, run_study

    if plan:
        planned = plan_report(settings, run)
        print_json(planned) if as_json else show_plan(planned, results())
        return
    with Watch(open_console(stderr=as_json)) as watch:
        workers = RayExecutor(ray_address, ray_cpus, watch) if executor == "ray" else None
        found = run_study(settings, run, workers, watch)
    folder = Path(settings.output) / settings.name
    print_json(found, folder=str(folder)) if as_json else show_findings(found, folder, results())
    say_next("study", folder / "recommended.yaml", quiet=as_json)


def show_plan(report: "StudyPlan", console: "Console") -> None:
    """What a study would train."""
    from multitune.cli.show import put, say
    from multitune.reporting.tables.study import plan_table

    tasks = ", ".join(f"{name} ({rows:,})" for name, rows in report.tasks.items())
    say(console, f"{report.study}: {len(report.tasks)} tasks with training rows: {tasks}")
    put(console, plan_table(report))
    everything = f"{report.everything_tokens:,.0f}"
    say(console, f"training all {report.combinations:,} combinations once would take {everything} tokens")
    say(console, f"{report.arms_at_once} arms train side by side; nothing was trained yet", "dim")


def show_findings(found: "Findings", folder: Path, console: "Console") -> None:
    """What a study found."""
    from multitune.cli.show import put, say
    from multitune.reporting.sentences import study_cost_line, summary_line
    from multitune.reporting.tables.study import comparison_table, helps_table

    console.print()
    say(console, found.sentence, "bold")
    if found.recommended:
        for group in found.recommended.groups:
            say(console, f"{'together' if len(group) > 1 else 'alone'}: {', '.join(group)}")
        for task, steps in found.recommended.longer_alone.items():
            say(console, f"alone for {steps:,} steps, as many as its group takes: {task}")
    for name, comparison in found.comparisons.items():
        console.print()
        caption = f"{name.replace('_', ' ')}, {comparison.rows} rows"
        say(console, caption, "bold")
        put(console, comparison_table(comparison.tasks, caption))
        say(console, summary_line(comparison.summary))
    for variant in found.variants:
        share = f", {variant.general:.0%} general" if variant.general else ""
        say(console, f"{variant.schedule}{share} ({len(variant.seeds)} seeds): {summary_line(variant.summary)}")
    console.print()
    if found.helps:
        say(console, "who helps whom: points that the row's task gains by being trained with the column's", "bold")
        put(console, helps_table(found.helps))
        console.print()
    if found.cost:
        say(console, study_cost_line(found.cost))
    say(console, f"study folder: {folder}")
