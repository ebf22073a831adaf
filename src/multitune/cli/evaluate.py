"""`eval`: a finished run scored again, on other rows beside its own evaluation."""

from typing import Annotated

import typer

from multitune.cli.next_steps import say_next
from multitune.cli.options import AsJson, Run, Split, checked_split
from multitune.cli.output import hush, open_console, print_json, results, write_own_report


def evaluate(
    run: Run,
    *,
    split: Split = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most rows per task.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the evaluation on other rows; made of --split and --limit when absent.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a finished run again; with another split or number of rows as an evaluation beside its own."""
    hush()
    checked_split(split)
    from multitune.cli.show import show_scores
    from multitune.cli.watch import Watch
    from multitune.pipeline import evaluate_folder

    with Watch(open_console(stderr=as_json)) as watch:
        scores, folder = evaluate_folder(run, watch, split=split, limit=limit, name=name)
    if as_json:
        print_json(scores, run=str(folder.path))
    else:
        show_scores(scores, folder.path, results())
    write_own_report(run, as_json)
    say_next("eval", run, quiet=as_json)
