"""Data files to a run file: every choice is made with a reason, and what only their owner knows is asked."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multitune.config.load import parse_config
from multitune.config.task import TaskConfig
from multitune.config.text import Tree
from multitune.conversion.given import unique_name
from multitune.core.bases import install_command, resolve_base
from multitune.core.errors import ConfigError, DataError, InputError, MissingExtraError
from multitune.core.files import write_text
from multitune.core.results.proposal import Choice, Proposal
from multitune.data.shapes import LISTED_LABELS
from multitune.data.sources import load_rows
from multitune.data.table_shapes import name_labels
from multitune.data.taskdata import TaskData, prepare_task
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.proposal.bases import Hardware, fitting
from multitune.proposal.columns import Ask, Columns, group_column, read_columns
from multitune.proposal.files import FoundSet, find_sets
from multitune.proposal.repairs import columns_to_fill, describe_source, merge_spellings
from multitune.proposal.sizes import held_out, limits, longest_row, max_length, small_sets, unlike_sets
from multitune.proposal.writing import run_file_text
from multitune.tasks.metrics import metric_for
from multitune.tasks.task import Task

SEED = 17
BATCH_SIZE = 16
WANTED_STEPS = 100  # fewer leave an adapter near where it began
EPOCHS = (3, 10)  # least and most, as usual for adapters
PACK_TOKENS = 2048  # of one forward pass, by default


@dataclass(frozen=True, slots=True)
class Draft:
    """A run file on its way: its fields, and the reason of each."""

    fields: Tree
    choices: Sequence[Choice]
    warnings: Sequence[str]


def propose(
    paths: Sequence[Path],
    output: Path,
    base: str,
    find_hardware: Callable[[], Hardware],
    *,
    columns: Columns,
    ask: Ask,
    overwrite: bool = False,
) -> Proposal:
    """Write a run file that trains one adapter on all of these sets, and one on each to compare it with.

    Args:
        paths: data files and folders.
        output: the run file to write; paths in it start at its folder.
        base: of the run.
        find_hardware: what the run will have, found out once all files are read, as it takes seconds.
        columns: named by hand.
        ask: is asked for columns that neither names nor values show.
        overwrite: replace a file that is there.

    Raises:
        InputError: the output exists, a file cannot be read, or its rows show no task.
    """
    if output.exists() and not overwrite:
        raise ConfigError(f"-o {output}: exists. Name another file, or give --overwrite")
    sets = read_sets(find_sets(paths), columns, ask)
    hardware = find_hardware()
    draft = draft_run(sets, output, base, hardware)
    folder = output.absolute().parent
    parse_config(draft.fields, folder, place=f"{output}, as proposed")
    write_text(output, run_file_text(draft.fields, draft.choices, draft.warnings, fitting(hardware), hardware))
    tasks = tuple(task["name"] for task in draft.fields["tasks"])
    return Proposal(
        file=str(output),
        tasks=tasks,
        choices=tuple(draft.choices),
        warnings=tuple(draft.warnings),
        install=install_command(base),
    )


def read_sets(found: Sequence[FoundSet], columns: Columns, ask: Ask) -> list["ReadSet"]:
    """Every set, read and divided as the run will; arguments as of `propose`.

    Raises:
        InputError: sets that cannot be read or show no task, all of them in one message.
    """
    sets: list[ReadSet] = []
    faults: list[InputError] = []
    for one in found:
        try:
            sets.append(_read_set(one, columns, ask))
        except InputError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise DataError("\n".join([f"{len(faults)} of {len(found)} sets are not clear yet:", *map(str, faults)]))
    return sets


def draft_run(read: Sequence["ReadSet"], output: Path, base: str, hardware: Hardware) -> Draft:
    """The fields of the run file, with reasons and warnings; arguments as of `propose`."""
    folder = output.absolute().parent
    sets = [one.data for one in read]
    tasks: list[Tree] = []
    choices: list[Choice] = []
    unread = [warning for one in read for warning in one.warnings]
    for one in read:
        data, reasons = one.data, list(one.reasons)
        limit = limits(data, hardware.accelerator).model_dump(exclude_none=True)
        if limit:
            shown = ", ".join(f"{split} {rows}" for split, rows in limit.items())
            reasons.append(
                Choice(of=data.task.name, field="limit", value=shown, because="on a CPU; without it all rows count")
            )
        choices += reasons
        tasks.append(_task_fields(data.task.config, one.found, folder, limit))
    small, unlike = small_sets(sets), unlike_sets(sets)
    settings, reasons, warnings = _settings(sets, output, base, hardware)
    fields = {**settings, "tasks": tasks}
    return Draft(fields, [*choices, *reasons], [*warnings, *unread, *small, *unlike])


@dataclass(frozen=True, slots=True)
class ReadSet:
    """A set, read and divided as the run will."""

    found: FoundSet
    data: TaskData
    reasons: Sequence[Choice]
    warnings: Sequence[str]  # of texts that are not read


def _read_set(one: FoundSet, columns: Columns, ask: Ask) -> ReadSet:
    source, reasons = describe_source(one)
    tables = load_rows(source, f"task {one.name!r}")
    reading = read_columns(TaskConfig(name=one.name, data=source), tables["train"], columns, ask)
    config = reading.config
    reasons.append(_reason(one.name, "kind", config.known_kind, reading.because))
    update: dict[str, object] = {}
    if empty := columns_to_fill(Task(config), tables.values()):
        update["data"] = source = source.model_copy(update={"required": tuple(empty)})
        shown = " and ".join(f"{count} rows without {name}" for name, count in empty.items())
        reasons.append(_reason(one.name, "data.required", ", ".join(empty), f"leaves out {shown}"))
    if not config.messages and (group := group_column(tables["train"])):
        update["group"] = group[0]
        reasons.append(_reason(one.name, "group", *group))
    rows = sum(1 for _ in tables["train"])
    if set(one.files) != {"train", "validation", "test"}:
        update["split"] = split = held_out(rows)
        absent = [name for name in ("validation", "test") if name not in one.files]
        value = ", ".join(f"{name} {getattr(split, name):g}" for name in absent)
        why = f"no file for them: drawn from {rows:,} rows by a hash of their text, copies kept together"
        reasons.append(_reason(one.name, "split", value, why))
    else:
        reasons.append(_reason(one.name, "data", ", ".join(path.name for path in one.files.values()), one.because))
    data = prepare_task(config.model_copy(update=update), SEED)
    if merged := merge_spellings(data.task):
        reasons.append(_reason(one.name, "answer", merged.answer, "one label is written in several ways"))
        data = prepare_task(merged, SEED)
    if data.task.kind == "classify":
        listed = _with_labels(data.task.config, data.task.labels)
        data = prepare_task(listed, SEED)  # its prompts are other ones
        reasons.append(_labels_reason(one.name, data.task.labels))
    metric = data.task.metric.name
    why = "the default of its kind; `metric` names another"
    if metric == "macro_f1":
        why = "every label counts the same, however rare; `metric: accuracy` counts every row the same"
    reasons.append(_reason(one.name, "metric", metric, why))
    return ReadSet(one, data, reasons, _unread(one.name, reading.unread))


def _unread(of: str, columns: Sequence[str]) -> list[str]:
    """A second text may be a part of what is asked, or give the answer away: only its owner knows."""
    if not columns:
        return []
    shown = " and ".join(f"{{{{ {name} }}}}" if name.isidentifier() else repr(name) for name in columns[:3])
    return [f"{of}: {', '.join(columns)}: not read. If the answer depends on it, put {shown} into the prompt"]


def _with_labels(config: TaskConfig, labels: tuple[str, ...]) -> TaskConfig:
    return config.model_copy(update={"labels": labels, "prompt": name_labels(config.prompt, labels)})


def _labels_reason(of: str, labels: Sequence[str]) -> Choice:
    inside = "named in the prompt" if len(labels) <= LISTED_LABELS else "too many to name in the prompt"
    shown = ", ".join(labels[:6]) + (f", … ({len(labels)})" if len(labels) > 6 else "")
    return _reason(of, "labels", shown, f"all that training rows hold; {inside}")


def _task_fields(config: TaskConfig, one: FoundSet, folder: Path, limit: Mapping[str, int]) -> Tree:
    """What a run file says of a task, in its order."""
    files: Tree = {split: Path(os.path.relpath(path, folder)).as_posix() for split, path in one.files.items()}
    source = config.data.model_dump(include={"encoding", "sheet", "required"}, exclude_defaults=True)
    data = {**files, **{key: list(value) if key == "required" else value for key, value in source.items()}}
    fields: Tree = {"name": config.name, "data": data if len(data) > 1 else files["train"]}
    for name in ("kind", "messages", "turns", "tools", "prompt", "answer", "options", "labels", "group"):
        value = getattr(config, name)
        if value and (name != "turns" or config.messages):
            fields[name] = list(value) if name == "labels" else value
    fields["metric"] = metric_for(config).name
    shares = {name: getattr(config.split, name) for name in ("validation", "test") if name not in files}
    if shares:
        fields["split"] = shares
    if limit:
        fields["limit"] = dict(limit)
    return fields


def _settings(
    sets: Sequence[TaskData], output: Path, base: str, hardware: Hardware
) -> tuple[Tree, list[Choice], list[str]]:
    """All but the tasks."""
    warnings: list[str] = []
    longest = 0
    try:
        longest = longest_row(sets, ChatFormat(load_tokenizer(resolve_base(base, Path.cwd()))))
    except MissingExtraError as error:
        warnings.append(f"{error}. Until then the length of rows is not known")
    most = max_length(longest) if longest else PACK_TOKENS
    rows = sum(len(data.examples["train"]) for data in sets)
    several = len(sets) > 1
    seeds = 3 if hardware.accelerator else 1
    fields: Tree = {
        "name": unique_name(output.absolute().parent.name, ()),
        "base": base,
        "seed": SEED,
        "seeds": seeds,
        "adapters": ["shared", "per_task"] if several else "shared",
        "train": {
            "epochs": epochs(rows),
            "batch_size": BATCH_SIZE,
            "max_length": most,
            "pack_tokens": max(PACK_TOKENS, most),
        },
    }
    if longest > most:
        warnings.append(f"the longest row has {longest:,} tokens; rows above {most:,} are left out")
    return fields, _reasons(fields, longest, rows, hardware), warnings


def epochs(rows: int) -> int:
    """Passes that make about 100 steps, between the least and the most that are usual."""
    least, most = EPOCHS
    return min(most, max(least, math.ceil(WANTED_STEPS * BATCH_SIZE / rows)))


def _reasons(fields: Tree, longest: int, rows: int, hardware: Hardware) -> list[Choice]:
    train = fields["train"]
    alone = "one for all tasks, and one for each alone to compare it with"
    return [
        _reason(
            "", "base", fields["base"], f"fits any machine; this one has {hardware.line}, and the file names others"
        ),
        _reason(
            "",
            "adapters",
            str(fields["adapters"]) if fields["adapters"] == "shared" else "shared, per_task",
            "one task" if fields["adapters"] == "shared" else alone,
        ),
        _reason(
            "",
            "seeds",
            str(fields["seeds"]),
            "with several, verdicts hold beyond one training"
            if fields["seeds"] > 1
            else "on a CPU; with 3, verdicts hold beyond one training",
        ),
        _reason(
            "",
            "train.max_length",
            str(train["max_length"]),
            f"the longest row has {longest:,} tokens" if longest else "not measured",
        ),
        _reason(
            "", "train.epochs", str(train["epochs"]), f"{rows:,} training rows in all, {BATCH_SIZE} of them a step"
        ),
    ]


def _reason(of: str, field: str, value: str, because: str) -> Choice:
    return Choice(of=of, field=field, value=value, because=because)
