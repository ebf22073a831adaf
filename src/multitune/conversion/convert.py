"""A file of another tool to a run file: read as YAML or as a command line, converted, checked, and written."""

import re
import shlex
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from multitune.config.load import parse_config
from multitune.config.peers import tool_of
from multitune.config.text import Tree, read_text, read_yaml, write_yaml
from multitune.conversion import axolotl, llama_factory, trl
from multitune.conversion.given import Draft, Given, unique_name
from multitune.core.errors import ConfigError, suggest
from multitune.core.files import write_text
from multitune.core.results.run import Imported

TOOLS: Mapping[str, Callable[[Given, Path, Path], Draft]] = {
    "Axolotl": axolotl.convert,
    "LLaMA-Factory": llama_factory.convert,
    "TRL": trl.convert,
}
WIDTH = 119
GENERATED = (
    "every task is of kind generate, scored by rouge_l. Where answers are labels or numbers, set kind and metric"
)


def import_config(file: Path, output: Path, tool: str | None = None, *, overwrite: bool = False) -> Imported:
    """Write a run file that trains what a config of another tool trains.

    Args:
        file: of Axolotl or LLaMA-Factory, or the arguments of `trl sft` as YAML or as a command line.
        output: the run file to write; paths in it start at its folder.
        tool: one of `TOOLS`; found by the keys of the file when None.
        overwrite: replace a file that is there.

    Raises:
        ConfigError: the file is of none of these tools or for another kind of training, or the output exists.
    """
    if output.exists() and not overwrite:
        raise ConfigError(f"-o {output}: exists. Name another file, or give --overwrite")
    fields = read_arguments(file)
    tool = _known(tool) if tool else tool_of(fields)
    if tool is None:
        raise ConfigError(
            f"{file}: neither a config of {', '.join(TOOLS)} nor their arguments: none of their keys is in it. "
            "Give --tool, or another file"
        )
    folder = output.absolute().parent
    given = Given(fields, str(file))
    draft = TOOLS[tool](given, file.absolute().parent, folder)
    if not draft.fields["base"]:
        raise ConfigError(f"{file}: names no model. Add its hub id or folder")
    config = _finished(draft, given, output)
    parse_config(config, folder, place=f"{file} as a run file")
    write_text(output, f"{_head(file.name, tool, output, draft.notes)}\n{write_yaml(config)}")
    return Imported(
        tool=tool,
        file=str(output),
        tasks=tuple(task["name"] for task in config["tasks"]),
        notes=tuple(draft.notes),
    )


def read_arguments(file: Path) -> Tree:
    """The keys of a config, or of a command line such as `trl sft --learning_rate 1e-4 …` in a text file.

    Raises:
        ConfigError: it cannot be read, or is neither.
    """
    text = read_text(file)
    if re.search(r"^\s*[^#\s:]*[^:\n]*\s--\w", text, re.MULTILINE):
        return _of_command(text, file)
    found = read_yaml(text, str(file))
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: no mapping of keys and no command line. Give a config of {', '.join(TOOLS)}")
    return cast(Tree, found)


def _of_command(text: str, file: Path) -> Tree:
    """The options of a command line; those of its `--config` come first."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise ConfigError(f"{file}: no command line ({error}). Close its quotes") from error
    options: dict[str, list[str]] = {}
    key = ""
    for word in words:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            key = key.replace("-", "_")
            options[key] = [value] if equals else []
        elif key:
            options[key].append(word)
    fields: Tree = {}
    if config := next(iter(options.pop("config", [])), None):
        fields = read_arguments(file.parent / config)
    for name, values in options.items():
        parts = [read_yaml(value, f"{file}: --{name}") for value in values]
        fields[name] = True if not parts else parts[0] if len(parts) == 1 else parts
    return fields


def _known(tool: str) -> str:
    """A tool by its name, however it is written."""
    plain = {re.sub(r"\W|_", "", name).lower(): name for name in TOOLS}
    found = plain.get(re.sub(r"\W|_", "", tool).lower())
    if found is None:
        raise ConfigError(f"--tool {tool}: {suggest(tool, TOOLS)}")
    return found


def _finished(draft: Draft, given: Given, output: Path) -> Tree:
    """The fields in the order of a run file, with a name and how several tasks are mixed."""
    fields = draft.fields
    several = len(fields["tasks"]) > 1
    if several and "mixture" not in fields:
        fields["mixture"] = {"schedule": "proportional", "max_repeats": None}  # rows one after the other, shuffled
    if several and fields["method"] == "lora":
        draft.notes.append(
            "adapters: besides one for all tasks, one per task is trained to compare with; `adapters: shared` trains "
            "that one alone"
        )
    draft.notes += [GENERATED, *given.rest()]
    stem = Path(given.place).stem if output.stem == "multitune" else output.stem
    named = {"name": unique_name(stem, ()), **fields}
    order = ["name", "base", "system", "seed", "tasks", "mixture", "method", "lora", "train", "dtype"]
    order += ["quantization", "track"]
    return {key: named[key] for key in order if key in named}


def _head(source: str, tool: str, output: Path, notes: list[str]) -> str:
    """Comments that say where a run file comes from, and what differs."""
    lines = [f"# Made of {source} ({tool}) by `multitune import`. Next: multitune check {output.name}", "#"]
    lines += ["# What differs there, or has no counterpart here, and what to do:"]
    for note in notes:
        lines += _wrapped(note)
    return "\n".join(lines) + "\n"


def _wrapped(note: str) -> list[str]:
    text = " ".join(note.split())
    return textwrap.wrap(text, WIDTH, initial_indent="# - ", subsequent_indent="#   ", break_on_hyphens=False)
