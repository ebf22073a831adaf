"""One task's data, ready to tokenise: loaded, rendered, split without leaks, limited, its labels checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multitune.config.schema import TaskConfig
from multitune.core.errors import DataError, TaskError
from multitune.core.records import SPLITS, Example, Split
from multitune.core.seeds import generator
from multitune.data.sources import Table, load_rows
from multitune.data.splits import carve, drop_straddlers, text_key
from multitune.tasks.task import Task

Examples = Mapping[Split, Sequence[Example]]


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task and the examples of its three splits; a split is empty only where its share is 0."""

    task: Task
    examples: dict[Split, list[Example]]
    digests: dict[Split, str]  # sha256 of the source that a split's rows come from; a carved split has train's
    notes: list[str]  # what was carved, dropped or left out, one sentence each


def prepare_task(config: TaskConfig, seed: int) -> TaskData:
    """Everything between a task's configuration and its examples.

    Validation and test stay as they are named; train loses the rows whose prompt stands in them too. A split without
    a name is then carved from train by hash of the prompt, documents kept whole, and limits draw with the seed.

    Args:
        config: its paths are absolute.
        seed: the run's.

    Raises:
        DataError: rows cannot be read, or a split ends up empty.
        TaskError: rows do not fit the templates or the labels.
    """
    place = f"task {config.name!r}"
    task = Task(config)
    tables = load_rows(config.data, place)
    named: Examples = {split: _render(task, table) for split, table in tables.items()}
    # From all of train: a label whose only row is then held out is still a label.
    task.fit_labels(named["train"])
    for split in SPLITS[1:]:
        task.check_labels(named.get(split, []))
    notes: list[str] = []
    apart = _without_straddlers(named, place, notes)
    divided = _divided(apart, config, seed, notes)
    limited: dict[Split, list[Example]] = {
        split: _limited(divided.get(split, []), split, config, seed) for split in SPLITS
    }
    drawn = [f"{len(limited[s])} of {len(divided[s])} {s}" for s in divided if len(limited[s]) < len(divided[s])]
    if drawn:
        notes.append(f"as limit says, rows drawn: {', '.join(drawn)}")
    digests: dict[Split, str] = {split: tables.get(split, tables["train"]).digest for split in SPLITS}
    return TaskData(task, limited, digests, notes)


def _render(task: Task, table: Table) -> list[Example]:
    try:
        return task.examples(table.rows)
    except TaskError as error:
        raise TaskError(f"{error} (in {table.origin})") from error


def _without_straddlers(named: Examples, place: str, notes: list[str]) -> Examples:
    kept = drop_straddlers({split: [text_key(e.prompt) for e in examples] for split, examples in named.items()})
    for split, rows in kept.items():
        if dropped := len(named[split]) - len(rows):
            later = "test" if split == "validation" else "validation or test"
            if not rows:
                raise DataError(
                    f"{place}: every {split} row's prompt stands in {later} as well. "
                    f"Give {split} other rows, or put what tells them apart into the prompt"
                )
            notes.append(
                f"{split}: {dropped} of {len(named[split])} rows left out, as their prompt stands in {later} as well"
            )
    return {split: [named[split][row] for row in rows] for split, rows in kept.items()}


def _divided(apart: Examples, config: TaskConfig, seed: int, notes: list[str]) -> Examples:
    """With the splits that have no name carved out of train."""
    asked: dict[Split, float] = {"validation": config.split.validation, "test": config.split.test}
    shares: dict[Split, float] = {split: share for split, share in asked.items() if split not in apart and share > 0.0}
    if not shares:
        return apart
    place = f"task {config.name!r}"
    if sum(shares.values()) >= 1.0:
        raise DataError(f"{place}: split holds out {sum(shares.values()):g} of the rows. Leave some to train on")
    train = apart["train"]
    parts = carve([text_key(e.prompt) for e in train], [e.group for e in train], shares, seed)
    if empty := [split for split in shares if not parts[split]]:
        raise DataError(
            f"{place}: its {len(train)} train rows have too few different prompts (or documents) to carve "
            f"{' and '.join(empty)} from. Give more rows, name data.{empty[0]}, or set split.{empty[0]} to 0"
        )
    counts = " and ".join(f"{len(parts[split])} for {split}" for split in shares)
    notes.append(f"train: {counts} carved from {len(train)} rows by hash of the prompt")
    return {**apart, **{split: [train[row] for row in rows] for split, rows in parts.items()}}


def _limited(examples: Sequence[Example], split: Split, config: TaskConfig, seed: int) -> list[Example]:
    """As many as the limit allows, in their order; a higher limit holds all rows of a lower one."""
    limit: int | None = getattr(config.limit, split)
    if limit is None or len(examples) <= limit:
        return list(examples)
    rows = generator(seed, config.name, split, "limit").permutation(len(examples))[:limit]
    return [examples[row] for row in sorted(rows.tolist())]
