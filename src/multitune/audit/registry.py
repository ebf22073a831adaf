"""All checks of the audit: our own, and those that other packages add by entry points."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from multitune.audit import (
    answer_shown,
    association,
    contradictions,
    duplicates,
    empty,
    label_errors,
    labels,
    language,
    leaks,
    personal_data,
    representation,
    texts,
)
from multitune.audit.checks import Audited, Check, Dropped
from multitune.config.audit import AuditConfig
from multitune.core.errors import ConfigError, suggest
from multitune.core.plugins import Group, guarded, load_plugin, plugin_fault, plugin_names
from multitune.core.results.audit import Finding, Measure, SkippedCheck

GROUP: Group = "multitune.auditors"  # of entry points by which other packages add to these
OWN: tuple[Check, ...] = (
    *personal_data.CHECKS,
    *representation.CHECKS,
    *association.CHECKS,
    *empty.CHECKS,
    *duplicates.CHECKS,
    *leaks.CHECKS,
    *contradictions.CHECKS,
    *texts.CHECKS,
    *language.CHECKS,
    *labels.CHECKS,
    *label_errors.CHECKS,
    *answer_shown.CHECKS,
)

Item = TypeVar("Item")


def all_checks() -> tuple[Check, ...]:
    """Every check there is.

    Raises:
        PluginError: one of another package cannot be loaded, or is no check.
    """
    taken = {check.name for check in OWN}
    return (*OWN, *(_plugin(name) for name in plugin_names(GROUP) if name not in taken))


def check_settings(config: AuditConfig, checks: Iterable[Check]) -> None:
    """Refuse settings that name a check or a threshold that there is not.

    Raises:
        ConfigError: with one line per fault.
    """
    checks = tuple(checks)
    names = [check.name for check in checks]
    known = [f"{check.name}.{name}" for check in checks for name in check.thresholds]
    faults = [
        f"audit.skip: {name!r} is not a check. {suggest(name, names)}" for name in config.skip if name not in names
    ]
    faults += [
        f"audit.thresholds: {name!r} is not a threshold of a check. {suggest(name, known)}"
        for name in config.thresholds
        if name not in known
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def thresholds(check: Check, config: AuditConfig) -> dict[str, float]:
    """The thresholds of a check, by name: as the run file says, or else its own."""
    return {name: config.thresholds.get(f"{check.name}.{name}", one.value) for name, one in check.thresholds.items()}


def _plugin(name: str) -> Check:
    """A check of another package, whose faults are reported as that package's."""
    check = load_plugin(GROUP, name)
    if not isinstance(check, Check) or check.name != name:
        raise plugin_fault(GROUP, name, f"is no Check of that name, but {check!r:.80}")
    return replace(
        check,
        find=_listed(name, check.find, (Finding, Measure, SkippedCheck)),
        drops=check.drops and _listed(name, check.drops, (Dropped,)),
        redacts=check.redacts and _redactor(name, check.redacts),
    )


def _listed(
    name: str, function: Callable[[Audited], Iterable[Item]], kinds: tuple[type, ...]
) -> Callable[[Audited], list[Item]]:
    """All at once, as a generator would fail outside of the guard."""

    def call(audited: Audited) -> list[Item]:
        found = list(function(audited))
        if odd := [one for one in found if not isinstance(one, kinds)]:
            raise TypeError(f"it gives {odd[0]!r:.80}")
        return found

    return guarded(GROUP, name, call)


def _redactor(name: str, make: Callable[[Audited], Callable[[str], str]]) -> Callable[[Audited], Callable[[str], str]]:
    made = guarded(GROUP, name, make)
    return lambda audited: guarded(GROUP, name, made(audited))
