"""What a search may change of a run, and how far: the settings that matter, each within its usual range."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any, Literal

from multitune.config.load import parse_config
from multitune.config.ranges import Field, learning_rate, usual_range
from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError, suggest

Scale = Literal["linear", "log", "powers of two"]
DIGITS = 3  # of a value that a search proposes: more digits would claim a precision that is not there
SHARES = "mixture.shares."
SHARE_FACTOR = 2.0  # a fixed share moves between half and twice what the run file says

# field of the run file -> its name in config.ranges, and its scale
_SETTINGS: dict[str, tuple[Field, Scale]] = {
    "train.learning_rate": ("learning_rate", "log"),
    "lora.rank": ("rank", "powers of two"),
    "train.epochs": ("epochs", "linear"),
    "mixture.temperature": ("temperature", "linear"),
    "mixture.anneal_end": ("anneal_end", "linear"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One field that a search moves."""

    field: str  # such as train.learning_rate
    low: float
    high: float
    scale: Scale
    own: float  # what the run file says, moved into the range

    @property
    def choices(self) -> list[int]:
        """Of `powers of two`: those within the range; the two ends where there is none."""
        powers = [2**n for n in range(int(log2(self.high)) + 1) if self.low <= 2**n <= self.high]
        return powers or sorted({int(self.low), int(self.high)})


def settings_of(config: RunConfig, ranges: Sequence[str] = ()) -> tuple[RunConfig, list[Setting]]:
    """The fields that a search of a run moves, and the run with those fixed that `ranges` fix.

    Learning rate, rank with alpha at twice of it, passes unless steps are given, and what the mixture's schedule
    leaves open: the temperature, the end of the annealing, or fixed shares.

    Args:
        config: the run.
        ranges: `field=low,high` instead of the usual range, or `field=value` to leave a field out of the search.

    Raises:
        ConfigError: a range is none, or is of a field that this run cannot search.
    """
    usual = {field: limits for field in _searchable(config) if (limits := _limits(config, field)) is not None}
    fixed: dict[str, float] = {}
    for text in ranges:
        field, low, high = _range(text, list(usual))
        if low == high:
            fixed[field] = low
            usual.pop(field)
        else:
            usual[field] = (low, high)
    found = applied(config, fixed) if fixed else config
    settings = [_setting(config, field, *limits) for field, limits in usual.items()]
    if not settings:
        raise ConfigError("--range: every field is fixed, and nothing is left to search")
    return found, settings


def _searchable(config: RunConfig) -> list[str]:
    fields = ["train.learning_rate"]
    if config.method == "lora":
        fields.append("lora.rank")
    if config.train.max_steps is None:
        fields.append("train.epochs")
    if len(config.tasks) + len(config.general) > 1:
        if config.mixture.schedule in ("temperature", "anneal"):
            fields.append("mixture.temperature" if config.mixture.schedule == "temperature" else "mixture.anneal_end")
        elif config.mixture.schedule == "fixed":
            fields += [f"{SHARES}{name}" for name in config.mixture.shares or {}]
    return fields


def _limits(config: RunConfig, field: str) -> tuple[float, float] | None:
    if field.startswith(SHARES):
        own = _own(config, field)
        return own / SHARE_FACTOR, own * SHARE_FACTOR
    return usual_range(config, _SETTINGS[field][0])


def _setting(config: RunConfig, field: str, low: float, high: float) -> Setting:
    scale = "log" if field.startswith(SHARES) else _SETTINGS[field][1]
    setting = Setting(field, low, high, scale, min(max(_own(config, field), low), high))
    if scale != "powers of two":
        return setting
    nearest = min(setting.choices, key=lambda choice: abs(log2(choice / setting.own)))
    return Setting(field, low, high, scale, nearest)


def _own(config: RunConfig, field: str) -> float:
    """What the run file says."""
    if field.startswith(SHARES):
        return (config.mixture.shares or {})[field.removeprefix(SHARES)]
    if field == "train.learning_rate":
        return learning_rate(config)
    section, name = field.split(".")
    return float(getattr(getattr(config, section), name))


def _range(text: str, fields: Sequence[str]) -> tuple[str, float, float]:
    field, _, limits = (part.strip() for part in text.partition("="))
    if field not in fields:
        raise ConfigError(f"--range {text}: {field!r} is nothing that this run can search. {suggest(field, fields)}")
    numbers = re.split(r"\s*,\s*", limits)
    try:
        low, high = float(numbers[0]), float(numbers[-1])
    except ValueError:
        low, high = 1.0, 0.0
    if len(numbers) > 2 or not low <= high < float("inf") or low < 0 or (high > low == 0 and _is_log(field)):
        raise ConfigError(f"--range {text}: write {field}=low,high, or one number to leave it out of the search")
    return field, low, high


def _is_log(field: str) -> bool:
    return field.startswith(SHARES) or _SETTINGS[field][1] != "linear"


def own_values(settings: Sequence[Setting]) -> dict[str, float]:
    """The run file's own values, in the types of a search."""
    return {s.field: int(s.own) if s.scale == "powers of two" else s.own for s in settings}


def applied(config: RunConfig, values: Mapping[str, float]) -> RunConfig:
    """A run with other values of some fields, the alpha of a rank at twice of it, checked as any run is.

    Raises:
        ConfigError: a value that no run may have.
    """
    tree: dict[str, Any] = config.model_dump()  # not as JSON, which has no passwords
    for field, value in values.items():
        if field.startswith(SHARES):
            tree["mixture"]["shares"][field.removeprefix(SHARES)] = rounded(value)
        else:
            section, name = field.split(".")
            tree[section][name] = int(value) if name == "rank" else rounded(value)
            if name == "rank":
                tree["lora"]["alpha"] = 2.0 * int(value)
    return parse_config(tree, Path.cwd(), place="tune")


def rounded(value: float) -> float:
    """A number to three digits."""
    return float(f"{value:.{DIGITS}g}")
