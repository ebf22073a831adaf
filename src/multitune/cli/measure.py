"""`measure`: what the scores of a finished run do not show, on its own rows and on suites of bias."""

from pathlib import Path
from typing import Annotated

import typer

from multitune.cli.next_steps import say_next
from multitune.cli.options import AsJson, Run
from multitune.cli.output import hush, open_console, print_json, results, write_own_report
from multitune.core.errors import ConfigError, suggest


def measure(
    run: Run,
    *,
    slices: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Scores by the values of a column of the rows; may be repeated."),
    ] = None,
    flips: Annotated[bool, typer.Option("--flips", help="Answers that change with swapped groups of people.")] = False,
    perturb: Annotated[
        bool, typer.Option("--perturb", help="Scores on rows with typos, other case, more text.")
    ] = False,
    bias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUITE[=PATH]",
            help="crows_pairs, winobias or bbq against the base, from the hub or a path; may be repeated.",
        ),
    ] = None,
    secrets: Annotated[
        bool,
        typer.Option("--secrets", help="Personal data and secrets of training answers that what ships completes."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what the scores of a finished run do not show: groups, flips, perturbed rows, bias, secrets."""
    hush()
    from multitune.config.robustness import RobustnessConfig  # here, so that `--help` need not wait for pydantic

    suites = dict(map(_suite, bias or ()))
    asked = {"slices": tuple(slices or ()), "flips": flips, "perturb": perturb, "bias": suites, "secrets": secrets}
    wanted = RobustnessConfig.model_validate(asked)
    if not wanted.asks_anything:
        raise ConfigError(f"measure {run}: nothing is asked for. Give {', '.join(f'--{name}' for name in asked)}")
    from multitune.cli.show import show_robustness
    from multitune.cli.watch import Watch
    from multitune.pipeline import measure_folder

    with Watch(open_console(stderr=as_json)) as watch:
        found = measure_folder(run, wanted, watch)
    if as_json:
        print_json(found, run=str(run))
    else:
        show_robustness(found, run, results())
    write_own_report(run, as_json)
    say_next("measure", run, quiet=as_json)


def _suite(text: str) -> tuple[str, str | None]:
    """Of `NAME` or `NAME=PATH`."""
    from multitune.config.robustness import SUITES

    name, _, path = text.partition("=")
    if name not in SUITES:
        raise ConfigError(f"--bias {text}: {suggest(name, SUITES)}")
    return name, str(Path(path).expanduser().absolute()) if path else None
