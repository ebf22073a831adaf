"""`compare-predictions`: answers of any origin on the same rows, with the statistics and verdicts of a run."""

from pathlib import Path
from typing import Annotated

import typer

from multitune.cli.options import AsJson
from multitune.cli.output import hush, print_json, results
from multitune.core.errors import InputError


def compare_predictions(
    sides: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B…", help="A run, a folder of TASK.jsonl, or such a file; the first is the reference."
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|TASK=NAME", help="How a task is scored, where no run says it. May be repeated."),
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option("--tasks", metavar="FILE", help="A run file that says how its tasks are scored.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be repeated.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Of a run, whose answers count; what each task ships with if absent.")
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(min=100, help="Of the bootstrap; 1000, or as of a run among the sides, if absent.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare answers of any trainer or model, task by task, on the same rows: difference, interval, p and verdict.

    A row of a file has an `id`, an `output` and, unless another side has it, a `gold` answer.
    """
    hush()
    metrics = dict(map(_metric, metric or ()))
    from multitune.cli.runs import show_run_comparison
    from multitune.evaluation.stats import BootstrapPlan
    from multitune.functions import compare_predictions as compare_all

    found = compare_all(
        sides,
        metrics=metrics,
        run_file=tasks,
        tasks=task or (),
        adapter=adapter,
        plan=BootstrapPlan(resamples) if resamples else None,
    )
    print_json(found) if as_json else show_run_comparison(found, results())


def _metric(text: str) -> tuple[str, str]:
    """The task, empty for all others, and its metric."""
    task, _, name = text.rpartition("=")
    if not name:
        raise InputError(f"--metric {text}: write a metric, or TASK and a metric, such as accuracy or tweets=macro_f1")
    return task, name
