"""Which adapters a run trains: `shared`, `per_task`, `mixture` or an explicit list, as recipes."""

from multitune.config.schema import RecipeConfig, RunConfig
from multitune.core.errors import ConfigError, suggest

SHARED = "shared"  # the adapter that learns all tasks
BASE = "base"  # the backbone alone, in every table


def expand_adapters(config: RunConfig) -> tuple[RecipeConfig, ...]:
    """The adapters to train, the shared one first.

    An adapter of one task is the single-task baseline: it takes no general members. With one task alone, `mixture`
    is a single adapter of that task with the general members.

    Raises:
        ConfigError: two adapters of one name, a name that is taken, or unknown tasks.
    """
    faults = adapter_faults(config)
    if faults:
        raise ConfigError("\n".join(faults))
    return _expand(config)


def adapter_faults(config: RunConfig) -> list[str]:
    """What is wrong with the adapters of a run, one line each."""
    listed = isinstance(config.adapters, tuple)
    faults: list[str] = []
    taken = {BASE: "names the model without adapters"}
    for index, recipe in enumerate(_expand(config)):
        if recipe.name in taken:
            place = f"adapters[{index}].name" if listed else "tasks: the name of a task (and so of its adapter)"
            faults.append(f"{place} is {recipe.name!r}, which {taken[recipe.name]}. Choose another name")
        taken.setdefault(recipe.name, "names another adapter")
    return faults + _task_faults(config) if listed else faults


def _expand(config: RunConfig) -> tuple[RecipeConfig, ...]:
    names = tuple(task.name for task in config.tasks)
    shared = RecipeConfig(name=SHARED, tasks=names)
    alone = tuple(RecipeConfig(name=name, tasks=(name,), general=False) for name in names)
    match config.adapters:
        case "shared":
            return (shared,)
        case "per_task":
            return alone
        case "mixture" if len(names) == 1:
            return tuple(one.model_copy(update={"general": True}) for one in alone)
        case "mixture":
            return (shared, *alone)
        case recipes:
            return recipes


def _task_faults(config: RunConfig) -> list[str]:
    names = [task.name for task in config.tasks]
    faults: list[str] = []
    for at, recipe in enumerate(_expand(config)):
        for index, name in enumerate(recipe.tasks):
            place = f"adapters[{at}].tasks[{index}]"
            if name not in names:
                faults.append(f"{place}: {name!r} is not a task. {suggest(name, names)}")
            elif name in recipe.tasks[:index]:
                faults.append(f"{place}: {name!r} is listed twice. Remove one of them")
    return faults
