"""The schedules of a mixture, in one registry: how the share of each task moves along a run."""

from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Protocol, runtime_checkable

from multitune.config.schema import MixtureConfig
from multitune.core.errors import MixtureError, suggest
from multitune.core.plugins import guarded, load_plugin, plugin_fault, plugin_names
from multitune.mixture import weights
from multitune.mixture.weights import Losses


@runtime_checkable
class Schedule(Protocol):
    """A schedule; other packages add theirs by an entry point in the group `multitune.schedules`."""

    def __call__(
        self, sizes: Mapping[str, float], progress: float, losses: Losses, mixture: MixtureConfig, /
    ) -> Mapping[str, float]:
        """The share of each task at one moment of a run, each above 0, in any scale.

        It is asked several times per step, and again after a resume: the same input gives the same shares.

        Args:
            sizes: task -> training examples, or the loss tokens in them where `mixture.unit` is tokens.
            progress: share of the run that is done, 0 to 1.
            losses: task -> validation loss (now, best so far, at the start); empty before the first validation.
            mixture: the section of the run file.
        """
        ...


SCHEDULES: Mapping[str, Schedule] = {
    "round_robin": lambda sizes, progress, losses, mixture: weights.round_robin(sizes),
    "proportional": lambda sizes, progress, losses, mixture: weights.proportional(sizes),
    "sqrt": lambda sizes, progress, losses, mixture: weights.sqrt(sizes),
    "temperature": lambda sizes, progress, losses, mixture: weights.temperature(sizes, mixture.temperature),
    "fixed": lambda sizes, progress, losses, mixture: weights.fixed(sizes, mixture.shares),
    "anneal": lambda sizes, progress, losses, mixture: weights.anneal(sizes, progress, mixture.anneal_end),
    "focus": lambda sizes, progress, losses, mixture: weights.focus(sizes, progress, losses),
}


def shares_at(
    config: MixtureConfig, sizes: Mapping[str, float], progress: float, losses: Losses | None = None
) -> dict[str, float]:
    """Shares of the schedule that the run file names, at one moment of a run; they add up to one.

    Args:
        config: names the schedule and its settings.
        sizes: task -> training examples, or the loss tokens in them where `config.unit` is tokens.
        progress: share of the run that is done, 0 to 1.
        losses: validation losses, for schedules that look at them.

    Raises:
        PluginError: the schedule of another package cannot be loaded, fails, or gives no shares.
    """
    schedule = SCHEDULES.get(config.schedule) or _plugin(config.schedule)
    return dict(schedule(sizes, progress, losses or {}, config))


@cache
def _plugin(name: str) -> Schedule:
    found = load_plugin("multitune.schedules", name)
    if found is None:  # uninstalled since the run file was read
        raise MixtureError(
            f"mixture.schedule is {name!r}. {suggest(name, [*SCHEDULES, *plugin_names('multitune.schedules')])}"
        )
    if not isinstance(found, Schedule):
        raise plugin_fault("multitune.schedules", name, "is no function (multitune.mixture.schedules.Schedule)")
    call = guarded("multitune.schedules", name, found)

    def schedule(
        sizes: Mapping[str, float], progress: float, losses: Losses, mixture: MixtureConfig
    ) -> Mapping[str, float]:
        shares = call(sizes, progress, losses, mixture)
        if shares.keys() != sizes.keys() or not all(isfinite(share) and share > 0 for share in shares.values()):
            raise plugin_fault(
                "multitune.schedules", name, f"gives {dict(shares)}, not a share above 0 for each of {list(sizes)}"
            )
        total = sum(shares.values())
        return {task: shares[task] / total for task in sizes}

    return schedule
