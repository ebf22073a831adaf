"""What a study may say: the run it varies, which combinations of its tasks to try, and how much to spend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from multitune.config.faults import fault_lines
from multitune.config.load import load_config
from multitune.config.registered import Schedule
from multitune.config.schema import Fraction, Name, RunConfig, Section
from multitune.config.text import read_text, read_yaml
from multitune.core.errors import ConfigError, suggest

Combination = Annotated[tuple[str, ...], Field(min_length=1)]
Alone = Literal["equal_passes", "equal_steps"]


class BudgetConfig(Section):
    """The most a guided search may train besides the baselines; what is absent is not a limit."""

    arms: int | None = Field(default=None, ge=1, description="Combinations to train in full.")
    share: float | None = Field(
        default=None, gt=0.0, le=1.0, description="Share of the tokens of training every combination."
    )
    minutes: float | None = Field(default=None, gt=0.0, description="Minutes, after which no further arm begins.")


class StudyConfig(Section):
    """A study: which tasks of a run belong together?"""

    name: Name = Field(default="study", description="Name of the study and of its folder.")
    run: str = Field(description="The run file whose tasks are combined; its adapters are not used.")
    set: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Changes to the run, as of `--set`: field path -> value."
    )
    search: Literal["exhaustive", "guided", "listed"] = Field(
        default="guided",
        description="exhaustive: every combination; guided: the largest first, within the budget; listed: just those.",
    )
    combinations: tuple[Combination, ...] = Field(
        default=(), description="Combinations of tasks to train in any case."
    )
    alone: tuple[Alone, ...] = Field(
        default=("equal_passes", "equal_steps"),
        min_length=1,
        description="Budgets of the single-task arms: as many passes as together, or as many optimizer steps.",
    )
    general: tuple[Fraction, ...] = Field(
        default=(0.0,),
        min_length=1,
        description="Shares of the run's general sets: the first in every arm, others on all tasks together.",
    )
    schedules: tuple[Schedule, ...] = Field(
        default=(), description="Sampling schedules to try on all tasks together; the run's when absent."
    )
    seeds: tuple[int, ...] = Field(
        default=(17,), min_length=1, description="Seeds of what is reported; the first one is what is searched with."
    )
    choose_by: Literal["loss", "metric"] = Field(
        default="loss", description="What on validation decides: the loss, which is less noisy, or the task's metric."
    )
    groups: dict[str, Combination] = Field(
        default_factory=dict, description="Named groups of tasks, whose mean effect on others is reported."
    )
    budget: BudgetConfig = Field(
        default_factory=lambda: BudgetConfig(),
        description="What a guided search may spend; as many combinations as there are tasks when absent.",
    )
    worth: float = Field(
        default=0.01, ge=0.0, lt=1.0, description="Least gain, relative and over all tasks, for one more adapter."
    )
    arms_at_once: int = Field(default=8, ge=1, description="Arms that train side by side on one backbone.")
    test: bool = Field(default=True, description="Report the recommended grouping on test rows at the end.")
    output: str = Field(default="runs", description="Folder that holds the study's folder.")


def load_study(path: Path | str, overrides: Sequence[str] = ()) -> tuple[StudyConfig, RunConfig]:
    """Read a study file and the run file that it names.

    Args:
        path: a YAML file; relative paths in it start at its folder.
        overrides: `field=value` each, of the study's own fields.

    Raises:
        ConfigError: with one line per fault.
    """
    file = Path(path).expanduser()
    raw = read_yaml(read_text(file), str(file))
    if not isinstance(raw, dict):
        raise ConfigError(f"{file}: a study is a mapping of fields, such as `run: finance.yaml`")
    if "rungs" in raw:
        why = "no predictor was better than the number of rows in a combination (docs/decisions/0050)"
        raise ConfigError(f"{file}: rungs was removed: {why}. Remove the line")
    for override in overrides:
        field, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write field=value, such as search=guided")
        _assign(raw, field.strip().split("."), read_yaml(text, f"--set {override}"))
    try:
        study = StudyConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{file}: {line}" for line in fault_lines(error, StudyConfig))) from error
    folder = file.absolute().parent
    changes = tuple(f"{field}={_yaml(value)}" for field, value in study.set.items())
    run = load_config(folder / study.run, changes)
    located = study.model_copy(update={"output": str(folder / study.output)})
    faults = study_faults(located, run)
    if faults:
        raise ConfigError("\n".join(f"{file}: {fault}" for fault in faults))
    return located, run


def study_faults(study: StudyConfig, run: RunConfig) -> list[str]:
    """What does not fit between a study and its run."""
    names = [task.name for task in run.tasks]
    faults: list[str] = []
    if len(names) < 2:
        faults.append(f"run: {study.run} has one task ({names[0]}); a study compares combinations. Add a second task")
    if run.method == "full":
        faults.append(f"run: {study.run} says `method: full`; a study's arms are adapters. Set method to lora")
    named = {f"combinations[{i}]": tasks for i, tasks in enumerate(study.combinations)}
    named |= {f"groups.{name}": tasks for name, tasks in study.groups.items()}
    for place, tasks in named.items():
        faults += [f"{place}: {task!r} is not a task. {suggest(task, names)}" for task in tasks if task not in names]
        faults += [f"{place}: {task!r} is listed twice" for i, task in enumerate(tasks) if task in tasks[:i]]
    if any(study.general) and not run.general:
        faults.append(f"general: {study.run} has no general sets, so a share above 0 has nothing to draw from")
    if study.search == "listed" and not study.combinations:
        faults.append("combinations: `search: listed` needs at least one")
    return faults


def _assign(tree: dict[str, object], path: Sequence[str], value: object) -> None:
    for key in path[:-1]:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {'.'.join(path)}: {key!r} has no parts")
        tree = inner
    tree[path[-1]] = value


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
