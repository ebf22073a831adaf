"""Which adapters a run trains: words such as `shared` or `mixture`, or a list, written out as one adapter each."""

from collections.abc import Sequence
from pathlib import Path

from multitune.config.schema import AdapterConfig, Every, RunConfig
from multitune.core.bases import BASE
from multitune.core.errors import ConfigError, suggest

SHARED = "shared"  # the adapter that learns all tasks
WORDS: dict[str, tuple[Every, ...]] = {
    "shared": ("shared",),
    "per_task": ("per_task",),
    "residual": ("shared", "residual"),
    "mixture": ("shared", "residual", "per_task"),
}


def expand_adapters(config: RunConfig) -> tuple[AdapterConfig, ...]:
    """The adapters to train, each behind its parent.

    An adapter of one task alone is the single-task baseline: it takes no general members. With one task, `mixture` is
    a single adapter of that task with the general members.

    Raises:
        ConfigError: two adapters of one name, a name that is taken, unknown tasks, or no such parent.
    """
    faults = adapter_faults(config)
    if faults:
        raise ConfigError("\n".join(faults))
    return _expand(config)


def expand_seeds(config: RunConfig) -> tuple[tuple[AdapterConfig, int], ...]:
    """Every training of every adapter: the adapters as they are (0), then all of them with the next seed (1), …

    A further training has a name of its own and, where the adapter stacks on another of the run, that one's training
    with the same seed below it.
    """
    adapters = expand_adapters(config)
    names = {adapter.name for adapter in adapters}
    found = [(adapter, 0) for adapter in adapters]
    for number in range(1, config.seeds):
        for adapter in adapters:
            seed = (config.seed if adapter.seed is None else adapter.seed) + number
            below = adapter.stack_on
            parent = seed_name(below, number) if below is not None and below in names else below
            update = {"name": seed_name(adapter.name, number), "seed": seed, "stack_on": parent}
            found.append((adapter.model_copy(update=update), number))
    return tuple(found)


def seed_name(adapter: str, number: int) -> str:
    """The name of one training of an adapter: its own for the first (0), then NAME.seed-2, NAME.seed-3, …"""
    return f"{adapter}.seed-{number + 1}" if number else adapter


def adapter_faults(config: RunConfig) -> list[str]:
    """What is wrong with the adapters of a run, one line each."""
    listed = isinstance(config.adapters, tuple)
    faults: list[str] = []
    taken = {BASE: "names the model without adapters"}
    adapters = _expand(config)
    for index, adapter in enumerate(adapters):
        if adapter.name in taken:
            place = f"adapters[{index}].name" if listed else "tasks: the name of a task (and so of its adapter)"
            faults.append(f"{place} is {adapter.name!r}, which {taken[adapter.name]}. Choose another name")
        if adapter.general and adapter.general is not True and not config.general:
            fault = f"adapters[{index}].general is {adapter.general}, but the run has no general data"
            faults.append(f"{fault}. Name some in `general`, such as `{{use: dolly, share: 0.1}}`")
        faults += _parent_faults(index, adapter, adapters)
        taken.setdefault(adapter.name, "names another adapter")
        for number in range(1, config.seeds):
            taken.setdefault(seed_name(adapter.name, number), f"names training {number + 1} of {adapter.name!r}")
    faults += _rate_faults(config, adapters)
    return faults + _task_faults(config, adapters) if listed else faults


def adapter_of_all_tasks(config: RunConfig) -> AdapterConfig | None:
    """The adapter that learns all tasks and has no parent, whatever its name; the first, if there are several."""
    every = {task.name for task in config.tasks}
    alone = [adapter for adapter in _expand(config) if adapter.stack_on is None]
    return next((adapter for adapter in alone if set(adapter.tasks) == every), None)


def residual_name(task: str) -> str:
    """The name of the adapter that learns what the shared one lacks on a task."""
    return f"{task}.residual"


def _expand(config: RunConfig) -> tuple[AdapterConfig, ...]:
    names = tuple(task.name for task in config.tasks)
    if config.adapters == "mixture" and len(names) == 1:
        return (AdapterConfig(name=names[0], tasks=names),)
    parts = WORDS[config.adapters] if isinstance(config.adapters, str) else config.adapters
    adapters: list[AdapterConfig] = []
    for part in parts:
        adapters += _of_word(part, names) if isinstance(part, str) else [part]
    return tuple(adapters)


def _of_word(word: Every, names: Sequence[str]) -> list[AdapterConfig]:
    match word:
        case "shared":
            return [AdapterConfig(name=SHARED, tasks=tuple(names))]
        case "per_task":
            return [AdapterConfig(name=name, tasks=(name,), general=False) for name in names]
        case "residual":
            return [
                AdapterConfig(name=residual_name(name), tasks=(name,), general=False, stack_on=SHARED)
                for name in names
            ]


def _parent_faults(index: int, adapter: AdapterConfig, adapters: Sequence[AdapterConfig]) -> list[str]:
    """What is wrong with the adapter that one stacks on."""
    place, parent = f"adapters[{index}]", adapter.stack_on
    if parent is None:
        fault = f"{place}.train_parent is true, but it has no parent. Name one in `stack_on`"
        return [fault] if adapter.train_parent else []
    before = [other.name for other in adapters[:index]]
    if parent in before:
        return []
    if parent in {other.name for other in adapters[index:]}:
        return [f"{place}.stack_on: {parent!r} must come before {adapter.name!r} in the list. Change their order"]
    if not Path(parent).is_dir():
        fault = f"{place}.stack_on: {parent!r} is neither an adapter before it in the list nor an adapter's folder"
        return [f"{fault}. {suggest(parent, before)}"]
    if adapter.train_parent:
        fault = f"{place}.train_parent: {parent} is a finished adapter, which stays as it is"
        return [f"{fault}. Remove `train_parent`"]
    return []


def _rate_faults(config: RunConfig, adapters: Sequence[AdapterConfig]) -> list[str]:
    """Learning rates of tasks that no adapter learns alone."""
    alone = {adapter.tasks for adapter in adapters if len(adapter.tasks) == 1}
    return [
        f"tasks[{index}].learning_rate_factor is {task.learning_rate_factor:g}, but no adapter learns {task.name!r} "
        "alone, and a step that several tasks share has one rate. Train an adapter of this task, or set "
        "train.learning_rate"
        for index, task in enumerate(config.tasks)
        if task.learning_rate_factor != 1.0 and (task.name,) not in alone
    ]


def _task_faults(config: RunConfig, adapters: Sequence[AdapterConfig]) -> list[str]:
    names = [task.name for task in config.tasks]
    faults: list[str] = []
    for at, adapter in enumerate(adapters):
        for index, name in enumerate(adapter.tasks):
            place = f"adapters[{at}].tasks[{index}]"
            if name not in names:
                faults.append(f"{place}: {name!r} is not a task. {suggest(name, names)}")
            elif name in adapter.tasks[:index]:
                faults.append(f"{place}: {name!r} is listed twice. Remove one of them")
    return faults
