"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from multitune.core.errors import ConfigError, suggest

RunFile = Annotated[Path, typer.Argument(metavar="FILE", help="The run file, in YAML.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `train` made.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as train.epochs=1; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout; progress goes to stderr.")]
Split = Annotated[str | None, typer.Option(help="validation or test; the run's own when absent.")]


def checked_split(split: str | None) -> None:
    """Raise unless it is one whose rows are never trained on.

    Raises:
        ConfigError: it is not.
    """
    if split not in (None, "validation", "test"):
        raise ConfigError(f"--split {split}: {suggest(split, ('validation', 'test'))}")
