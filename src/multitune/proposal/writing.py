"""The proposed run file as text, with the reason of each choice as a comment beside it."""

import textwrap
from collections.abc import Iterator, Sequence

from multitune.config.text import Tree, write_yaml
from multitune.core.results.proposal import Choice
from multitune.core.text import printable
from multitune.proposal.bases import Hardware, OpenBase

WIDTH = 110
ORDER = ("name", "base", "seed", "seeds", "tasks", "adapters", "train")


def run_file_text(
    fields: Tree, choices: Sequence[Choice], warnings: Sequence[str], bases: Sequence[OpenBase], hardware: Hardware
) -> str:
    """The run file.

    Args:
        fields: of the run.
        choices: the reasons of its fields.
        warnings: what its reader must know before training.
        bases: that fit the machine, as comments.
        hardware: the machine.
    """
    return "\n".join(_lines(fields, choices, warnings, [_others(bases, hardware)])) + "\n"


def _lines(fields: Tree, choices: Sequence[Choice], warnings: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    yield "# Proposed by `multitune init`; every line may be changed. All fields: `multitune schema`."
    for warning in warnings:
        yield from _comment(f"Warning: {warning}.")
    for key in ORDER:
        if key == "tasks":
            yield ""
            yield "tasks:"
            for task in fields["tasks"]:
                yield from _task_lines(task, [one for one in choices if one.of == task["name"]])
            yield ""
            continue
        about = [one for one in choices if not one.of and one.field.partition(".")[0] == key]
        for one in about:
            yield from _comment(f"{one.field} {one.value}: {one.because}.")
        if key == "base":
            for line in others:
                yield from _comment(line)
        yield write_yaml({key: fields[key]}).rstrip()


def _task_lines(task: Tree, choices: Sequence[Choice]) -> Iterator[str]:
    for one in choices:
        yield from (f"  {line}" for line in _comment(f"{one.field} {one.value}: {one.because}."))
    yield textwrap.indent(write_yaml([task]).rstrip(), "  ")


def _others(bases: Sequence[OpenBase], hardware: Hardware) -> str:
    if not bases:
        return f"Fits {hardware.line}: no larger one."
    listed = ", ".join(base.hub for base in bases)
    return f"Also fit {hardware.line}, smallest first (downloaded from the Hugging Face hub): {listed}."


def _comment(text: str) -> list[str]:
    line = printable(" ".join(text.split()))
    return textwrap.wrap(
        line, WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False, break_long_words=False
    )
