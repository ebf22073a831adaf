"""Options of a command that come from a record."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from multitune.cli.options import spread


@dataclass(frozen=True)
class Flags:
    size: Annotated[int, typer.Option(help="How large.")]
    names: Annotated[list[str] | None, typer.Option("--name")] = None
    loud: Annotated[bool, typer.Option("--loud")] = False


def invoked(*arguments: str) -> str:
    app = typer.Typer()

    @app.command()
    @spread
    def show(flags: Flags, word: str = "hi") -> None:
        """Show it."""
        print(flags, word)

    return CliRunner().invoke(app, list(arguments)).output


def test_fields_are_options_and_arrive_as_the_record() -> None:
    assert invoked("--size", "3", "--name", "a", "--name", "b", "--word", "ho").strip() == (
        f"{Flags(3, ['a', 'b'])} ho"
    )


def test_a_field_without_a_default_is_required_and_its_help_is_shown() -> None:
    assert "--size" in invoked() and "How large." in invoked("--help") and "Show it." in invoked("--help")
