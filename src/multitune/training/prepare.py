"""A run before any weights are loaded: every task's rows as tokens, and for each adapter its stream and its steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from multitune.config.schema import RunConfig
from multitune.core.bases import BaseRef, resolve_base
from multitune.core.errors import DataError
from multitune.core.extras import require_extra
from multitune.core.paths import cache_folder
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Audit
from multitune.core.results.run import DataRecord, SetRecord
from multitune.core.text import text_key
from multitune.data.examples import Examples
from multitune.data.overlaps import require_shots_free, without_held_out
from multitune.data.run_sets import Progress, RunSets, read_sets
from multitune.data.shots import with_shots
from multitune.data.summary import label_counts
from multitune.data.task_input import TaskInput
from multitune.data.taskdata import TaskData
from multitune.data.tokenizer import ChatFormat, load_tokenizer
from multitune.data.tokens import TokenSet, encode
from multitune.training.plan import AdapterPlan, phases, plan_adapters


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """All that a run needs besides weights."""

    config: RunConfig
    chat: ChatFormat
    ref: BaseRef
    tasks: Mapping[str, TaskInput]
    retention: Mapping[str, TaskInput]  # never drawn from: rows of the evaluated split alone
    plans: tuple[AdapterPlan, ...]
    notes: tuple[str, ...]
    as_read: RunSets  # every set before rows that another one holds out were left out
    audit: Audit | None = None  # of a sample of these, if one was made

    @property
    def phases(self) -> tuple[tuple[AdapterPlan, ...], ...]:
        """Plans that train side by side; one that stacks on a finished adapter of this run waits for it."""
        return phases(self.plans)

    @property
    def adapters(self) -> tuple[AdapterPlan, ...]:
        """The adapters of the run, each by its first training: what is compared on all sets, and what can ship."""
        return tuple(plan for plan in self.plans if not plan.spec.training)

    @property
    def sets(self) -> dict[str, TaskInput]:
        """Every set by name: the tasks, then general and retention sets."""
        return {**self.tasks, **self.retention}

    def data_record(self) -> DataRecord:
        """Content hashes, counts and left-out rows of every set, as data.json keeps them."""
        return DataRecord(sets={name: _set_record(item) for name, item in self.sets.items()})


def _set_record(item: TaskInput) -> SetRecord:
    return SetRecord(
        general=item.general,
        digests=item.data.digests,
        rows={split: len(item.tokens[split]) for split in SPLITS},
        too_long={split: tuple(item.tokens[split].too_long) for split in SPLITS},
        labels=tuple(item.data.task.labels or ()),
        shots=item.data.task.shots,
        label_counts=label_counts(item),
        held_elsewhere=item.data.held_elsewhere,
    )


def prepare_run(config: RunConfig, progress: Progress | None = None) -> PreparedRun:
    """Read, split and tokenise every set, and plan every adapter.

    Raises:
        InputError: anything in the config or the data that does not fit, before a weight is loaded.
    """
    if config.quantization:
        require_extra("quantization", "quantize", "bitsandbytes")
    ref = resolve_base(config.base, Path.cwd())
    chat = ChatFormat(load_tokenizer(ref), config.system, config.control_tokens)
    encoded = partial(_encoded, config, chat, progress)
    sets = read_sets(config, chat.ends, progress)
    config = sets.stated(config)
    members = without_held_out([*sets.tasks, *sets.general], config.cross_task_duplicates)
    require_shots_free(members, config.cross_task_duplicates)
    members = [with_shots(data, config.seed) for data in members]
    general = {task.name for task in config.general}
    tasks = {data.task.name: encoded(data, data.task.name in general) for data in members}
    retention = {data.task.name: encoded(with_shots(data, config.seed), False) for data in sets.retention}
    for task in config.tasks:
        _require_validation(tasks[task.name])
    notes = [note for item in (*tasks.values(), *retention.values()) for note in _notes(item, config.train.max_length)]
    notes += _trained_on(tasks, retention, config.evaluate.split)
    return PreparedRun(config, chat, ref, tasks, retention, plan_adapters(config, tasks), tuple(notes), sets)


def _encoded(
    config: RunConfig, chat: ChatFormat, progress: Progress | None, data: TaskData, general: bool
) -> TaskInput:
    return TaskInput(data, _tokens(data, chat, config.train.max_length, progress), general)


def _notes(item: TaskInput, max_length: int) -> list[str]:
    notes = [*item.data.notes, *_with_control_tokens(item), *_left_out(item.tokens, max_length)]
    return [f"{item.name}: {note}" for note in notes]


def _with_control_tokens(item: TaskInput) -> list[str]:
    """How many rows hold control tokens of the base as text."""
    rows = {split: item.tokens[split].control for split in SPLITS}
    first = next((item.data.examples[split][int(rows[split][0])].id for split in SPLITS if len(rows[split])), None)
    if first is None:
        return []
    return [
        f"control tokens of the base stand in {sum(map(len, rows.values()))} of {sum(map(len, item.tokens.values()))} "
        f"rows, such as row {first}. They are read as text; `control_tokens: parse` makes them real ones"
    ]


def _trained_on(tasks: Mapping[str, TaskInput], retention: Mapping[str, TaskInput], split: Split) -> list[str]:
    """How many rows of each retention set ask what a training row asks."""
    asked = {name: list(_asked(item, split)) for name, item in retention.items()}
    wanted = set[str]().union(*asked.values())
    trained = {text for item in tasks.values() if wanted for text in _asked(item, "train") if text in wanted}
    counts = {name: sum(prompt in trained for prompt in prompts) for name, prompts in asked.items()}
    return [
        f"{name}: {count} of {len(asked[name])} rows have a prompt that is trained on as well; "
        "on these its score shows what was learned, not what was kept"
        for name, count in counts.items()
        if count
    ]


def _asked(item: TaskInput, split: Split) -> Iterator[str]:
    """By what each row of a split is known."""
    rows = item.data.examples[split]
    return map(text_key, rows.asked()) if isinstance(rows, Examples) else iter(())


def _tokens(data: TaskData, chat: ChatFormat, max_length: int, progress: Progress | None) -> dict[Split, TokenSet]:
    tokens: dict[Split, TokenSet] = {}
    rows, before = sum(len(data.examples[split]) for split in SPLITS), 0
    for split in SPLITS:
        report = partial(_add, progress, data.task.name, before, rows) if progress else None
        examples = data.examples[split]
        if split == "train" and isinstance(examples, Examples):
            examples = examples.trained()
        tokens[split] = encode(examples, chat, max_length, cache_folder() / "tokens", report)
        before += len(data.examples[split])
    return tokens


def _add(progress: Progress, name: str, before: int, rows: int, done: int) -> None:
    progress(name, before + done, rows)


def _left_out(tokens: Mapping[Split, TokenSet], limit: int) -> list[str]:
    return [
        f"{len(rows.too_long)} of {len(rows) + len(rows.too_long)} {split} rows have more than {limit} tokens "
        "and are left out; a higher train.max_length takes them in"
        for split, rows in tokens.items()
        if rows.too_long
    ]


def _require_validation(item: TaskInput) -> None:
    if not len(item.tokens["validation"]):
        raise DataError(
            f"task {item.name!r}: no validation rows, which choose the best step. Name data.validation, or set "
            "split.validation above 0"
        )
