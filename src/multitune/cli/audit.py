"""`audit`: what is wrong with the data of a run, set by set and across its sets; in strict mode with exit code 1."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitune.cli.next_steps import say_next
from multitune.cli.options import AsJson, Overrides, RunFile
from multitune.cli.output import echo, hush, open_console, print_json, results
from multitune.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.config.schema import RunConfig
    from multitune.core.results.audit import Audit, CleanedSet, Finding


def audit(
    file: RunFile,
    overrides: Overrides = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 where a finding of severity high is open.")
    ] = False,
    rows: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Look at a sample of at most N rows of each set.")
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write cleaned copies of all sets there; the sources stay as they are."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show what was measured.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is wrong with the data of a run: each set alone, and all of them together as they will be drawn."""
    hush()
    if fix is not None and rows is not None:
        raise InputError(f"--rows {rows}: a cleaned copy holds all rows, and so all are audited. Leave out --rows")
    from multitune.config.load import load_config

    config = load_config(file, overrides or ())
    found, cleaned = _audited(config, rows, fix)
    strict = strict or config.audit.mode == "strict"
    code = 1 if strict and found.blocking else 0
    if as_json:
        more = {} if fix is None else {"cleaned": [one.plain() for one in cleaned]}
        print_json(found, exit_code=code, **more)
    else:
        show_audit(found, results(), verbose)
        for one in cleaned:
            kept = f"{one.rows:,} rows, without {one.removed:,} that were removed; {one.redacted:,} redacted"
            echo(f"cleaned copy of {one.name}: {kept}")
        if fix is not None:
            echo(f"what went and why: {fix / 'removed.jsonl'}")
            say_next("audit --fix", fix / "run.yaml")
        elif found.open:
            echo(_accepting(found, config, file, strict))
            say_next("audit --strict" if code else "audit with findings", file)
        else:
            say_next("audit", file)
    raise typer.Exit(code)


def _audited(config: "RunConfig", rows: int | None, fix: Path | None) -> "tuple[Audit, tuple[CleanedSet, ...]]":
    """The audit and, where wanted, the cleaned copies."""
    from multitune.audit.clean import require_target, without_limits, write_cleaned
    from multitune.audit.run import run_checks
    from multitune.cli.watch import reading
    from multitune.training.audit import read_audited

    if fix is not None:
        require_target(fix, config)
    with reading(open_console(stderr=True), "") as progress:
        given = read_audited(config if fix is None else without_limits(config), progress)
        found = run_checks(given, progress, rows=rows)
        return found, () if fix is None else write_cleaned(config, given, found, fix, progress)


def show_audit(found: "Audit", console: "Console", verbose: bool = False) -> None:
    """Findings by severity with example rows, what was accepted or not made, and measures if they are wanted."""
    from multitune.cli.show import put, say
    from multitune.reporting.renderers import STYLES
    from multitune.reporting.tables.audit import SEVERITY_TONES, audit_sentence, measures_table

    for severity, tone in SEVERITY_TONES.items():
        if shown := [one for one in found.open if one.severity == severity]:
            say(console, f"{severity} ({len(shown)})", STYLES[tone])
        for one in shown:
            _show_finding(one, console)
    for one in found.findings:
        if one.accepted is not None:
            say(console, f"accepted: {one.key}: {one.accepted}", "dim")
    for key in found.stale:
        say(console, f"accepted, but no longer found: {key}. Take it out of the file", "yellow")
    for one in found.skipped:
        say(console, f"not made: {one.check}: {one.reason}", "dim")
    if verbose and found.measures:
        put(console, measures_table(found))
    elif found.measures:
        say(console, f"{len(found.measures)} measures: --verbose shows them", "dim")
    say(console, audit_sentence(found), "bold")


def _show_finding(one: "Finding", console: "Console") -> None:
    from multitune.cli.show import say
    from multitune.core.text import printable
    from multitune.reporting.tables.audit import example_lines

    say(console, f"  {printable(one.key)}: {printable(one.message)}")
    say(console, f"    {printable(one.remedy)}")
    for line in example_lines(one):
        say(console, f"    {line}", "dim")


def _accepting(found: "Audit", config: "RunConfig", file: Path, strict: bool) -> str:
    """How to accept a finding that is no fault, by the first one as an example."""
    from multitune.audit.accepted import accept_entry
    from multitune.config.audit import ACCEPTED

    accept = config.audit.accept or file.parent / ACCEPTED
    entry = accept_entry(found.open[0]).rstrip()
    how = f"A finding that is no fault is accepted in {accept}, with a reason:\n{entry}"
    if found.blocking and strict:
        return f"strict: exit code 1 because of {', '.join(one.key for one in found.blocking)}\n{how}"
    return how
