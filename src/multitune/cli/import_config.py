"""`import`: a config of Axolotl, LLaMA-Factory or TRL becomes a run file, with what differs and what to do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitune.cli.next_steps import say_next
from multitune.cli.options import AsJson
from multitune.cli.output import echo, hush, print_json, results

if TYPE_CHECKING:
    from rich.console import Console

    from multitune.core.results.run import Imported


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A config of Axolotl or LLaMA-Factory, or arguments of `trl sft` in a file."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The run file to write.")] = Path(
        "multitune.yaml"
    ),
    tool: Annotated[
        str | None, typer.Option(help="axolotl, llama-factory or trl; found by the keys in the file when absent.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run file that trains what a config of Axolotl, LLaMA-Factory or TRL trains, and list what differs."""
    hush()
    from multitune.conversion.convert import import_config

    found = import_config(file, output, tool, overwrite=overwrite)
    print_json(found) if as_json else show_import(found, file, results())
    say_next("import", found.file, quiet=as_json)


def show_import(found: "Imported", source: Path, console: "Console") -> None:
    """What differs, line by line, then what was written."""
    from multitune.cli.show import say
    from multitune.core.text import printable

    say(console, f"{printable(source)} is of {found.tool}. What differs, or has no counterpart, and what to do:")
    for note in found.notes:
        say(console, f"- {note}", "yellow" if "no counterpart" in note else "dim")
    count = len(found.tasks)
    echo(f"{found.file}: {count} {'task' if count == 1 else 'tasks'}: {', '.join(found.tasks)}")
