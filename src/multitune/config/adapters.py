"""Which adapters a run trains: words such as `shared` or `mixture`, or a list, written out as recipes."""

from collections.abc import Sequence
from pathlib import Path

from multitune.config.schema import Every, RecipeConfig, RunConfig
from multitune.core.bases import BASE
from multitune.core.errors import ConfigError, suggest

SHARED = "shared"  # the adapter that learns all tasks
WORDS: dict[str, tuple[Every, ...]] = {
    "shared": ("shared",),
    "per_task": ("per_task",),
    "residual": ("shared", "residual"),
    "mixture": ("shared", "residual", "per_task"),
}


def expand_adapters(config: RunConfig) -> tuple[RecipeConfig, ...]:
    """The adapters to train, each behind the one it stands on.

    An adapter of one task alone is the single-task baseline: it takes no general members. With one task, `mixture` is
    a single adapter of that task with the general members.

    Raises:
        ConfigError: two adapters of one name, a name that is taken, unknown tasks, or nothing to stand on.
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
    recipes = _expand(config)
    for index, recipe in enumerate(recipes):
        if recipe.name in taken:
            place = f"adapters[{index}].name" if listed else "tasks: the name of a task (and so of its adapter)"
            faults.append(f"{place} is {recipe.name!r}, which {taken[recipe.name]}. Choose another name")
        if recipe.general and recipe.general is not True and not config.general:
            fault = f"adapters[{index}].general is {recipe.general}, but the run has no general data"
            faults.append(f"{fault}. Name some in `general`, such as `{{use: dolly, share: 0.1}}`")
        faults += _beneath_faults(index, recipe, recipes)
        taken.setdefault(recipe.name, "names another adapter")
    return faults + _task_faults(config, recipes) if listed else faults


def shared_recipe(config: RunConfig) -> RecipeConfig | None:
    """The adapter that learns all tasks and stands on no other, whatever its name; the first, if there are several."""
    every = {task.name for task in config.tasks}
    return next((recipe for recipe in _expand(config) if recipe.on is None and set(recipe.tasks) == every), None)


def residual_name(task: str) -> str:
    """The name of the adapter that learns what the shared one lacks on a task."""
    return f"{task}.residual"


def _expand(config: RunConfig) -> tuple[RecipeConfig, ...]:
    names = tuple(task.name for task in config.tasks)
    if config.adapters == "mixture" and len(names) == 1:
        return (RecipeConfig(name=names[0], tasks=names),)
    parts = WORDS[config.adapters] if isinstance(config.adapters, str) else config.adapters
    recipes: list[RecipeConfig] = []
    for part in parts:
        recipes += _of_word(part, names) if isinstance(part, str) else [part]
    return tuple(recipes)


def _of_word(word: Every, names: Sequence[str]) -> list[RecipeConfig]:
    match word:
        case "shared":
            return [RecipeConfig(name=SHARED, tasks=tuple(names))]
        case "per_task":
            return [RecipeConfig(name=name, tasks=(name,), general=False) for name in names]
        case "residual":
            return [RecipeConfig(name=residual_name(name), tasks=(name,), general=False, on=SHARED) for name in names]


def _beneath_faults(index: int, recipe: RecipeConfig, recipes: Sequence[RecipeConfig]) -> list[str]:
    place = f"adapters[{index}]"
    if recipe.on is None:
        return [f"{place}.joint is true, but it stands on no adapter. Name one in `on`"] if recipe.joint else []
    before = [other.name for other in recipes[:index]]
    if recipe.on in before:
        return []
    if recipe.on in {other.name for other in recipes[index:]}:
        return [f"{place}.on: {recipe.on!r} must stand above {recipe.name!r} in the list. Change their order"]
    if not Path(recipe.on).is_dir():
        fault = f"{place}.on: {recipe.on!r} is neither an adapter above it nor an adapter's folder"
        return [f"{fault}. {suggest(recipe.on, before)}"]
    if recipe.joint:
        return [f"{place}.joint: {recipe.on} is a finished adapter, which stays as it is. Remove `joint`"]
    return []


def _task_faults(config: RunConfig, recipes: Sequence[RecipeConfig]) -> list[str]:
    names = [task.name for task in config.tasks]
    faults: list[str] = []
    for at, recipe in enumerate(recipes):
        for index, name in enumerate(recipe.tasks):
            place = f"adapters[{at}].tasks[{index}]"
            if name not in names:
                faults.append(f"{place}: {name!r} is not a task. {suggest(name, names)}")
            elif name in recipe.tasks[:index]:
                faults.append(f"{place}: {name!r} is listed twice. Remove one of them")
    return faults
