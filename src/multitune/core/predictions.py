"""Predictions on disk: one JSON object per line."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multitune.core.errors import RunFolderError
from multitune.core.files import write_text
from multitune.core.records import Prediction
from multitune.core.seals import json_line, parse_line
from multitune.core.untrusted import open_regular


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Replace a file of predictions, one JSON object per line."""
    write_text(path, "".join(json_line(asdict(p)) for p in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Predictions as they were before they were written, lists of labels and spans included.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        with open_regular(path) as file:
            lines = file.read().decode("utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: missing. Evaluate the run again") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: damaged ({error}). Evaluate the run again") from error
    predictions: list[Prediction] = []
    for number, line in enumerate(lines, start=1):
        try:
            fields = parse_line(line)
            read = {key: _tuples(fields[key]) for key in ("value", "gold")}
            predictions.append(Prediction(**{**fields, **read}))
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"{path}: line {number} is damaged ({error}). Evaluate the run again") from error
    return predictions


def _tuples(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(one if isinstance(one, str) else tuple(one) for one in value) if isinstance(value, list) else value
