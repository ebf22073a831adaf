"""What other packages add to multitune, found by their entry points: metrics, schedules, routers and auditors."""

import logging
from collections.abc import Callable
from functools import cache, wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, ParamSpec, TypeVar, get_args

from multitune.core.errors import MultituneError, PluginError

Group = Literal["multitune.metrics", "multitune.schedules", "multitune.routers", "multitune.auditors"]
Given = ParamSpec("Given")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def plugin_names(group: Group) -> list[str]:
    """Names that installed packages offer, without loading any of them."""
    return sorted({entry.name for entry in entry_points(group=group)})


def plugin_packages() -> list[str]:
    """Packages that offer anything to multitune, by name."""
    found = [entry.dist for group in get_args(Group) for entry in entry_points(group=group)]
    return sorted({package.name for package in found if package})


@cache
def load_plugin(group: Group, name: str) -> object | None:
    """What a package offers under a name; None where no package does.

    Raises:
        PluginError: it cannot be loaded, or two packages offer the name.
    """
    found = {_package(entry): entry for entry in entry_points(group=group, name=name)}
    if not found:
        return None
    if len(found) > 1:
        raise PluginError(f"{' and '.join(found)} both offer {group} {name!r}. Uninstall one of them")
    ((package, entry),) = found.items()
    try:
        plugin = entry.load()
    except Exception as error:  # a package's code may raise anything
        _log.info("loading %s", entry, exc_info=True)
        raise plugin_fault(group, name, f"cannot be loaded from {entry.value} ({_message(error)})") from error
    _log.info("%s %r comes from %s", group, name, package)
    return plugin


def plugin_fault(group: Group, name: str, fault: str) -> PluginError:
    """An error that names the package: `fault` goes on from the plugin's name, such as `cannot be loaded`."""
    package = ", ".join(sorted({_package(entry) for entry in entry_points(group=group, name=name)}))
    return PluginError(f"{package}: {group} {name!r} {fault}. Update this package, or uninstall it")


def guarded(group: Group, name: str, function: Callable[Given, Result]) -> Callable[Given, Result]:
    """A function of a plugin, whose faults are reported as the plugin's."""

    @wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except MultituneError:
            raise
        except Exception as error:
            _log.info("calling %s %r", group, name, exc_info=True)
            raise plugin_fault(group, name, f"failed ({_message(error)})") from error

    return call


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
