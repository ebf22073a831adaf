"""Fields that older run files may hold: renamed, dropped where they say what is now the only way, or refused."""

import logging
from collections.abc import Mapping
from typing import Any

from multitune.config.faults import section_in
from multitune.config.schema import AdapterConfig, RunConfig, Section
from multitune.config.text import Tree
from multitune.core.errors import ConfigError

_log = logging.getLogger(__name__)

# section -> field -> its name now
RENAMED: Mapping[type[Section], Mapping[str, str]] = {
    AdapterConfig: {"on": "stack_on", "joint": "train_parent"},
}
# (section, field) -> (the value that changes nothing, why any other is refused)
# (section, field) -> (the value that older versions wrote by themselves, what holds in its stead)
REPLACED = {
    ("router", name): (0.05, "no longer holds: rejections are decided by what they cost (router.outside_cost)")
    for name in ("max_abstained", "turned_away")
}
RETIRED = {
    ("train", "balance"): (
        "sum",
        "was removed: neither FAMO nor PCGrad gained over the plain sum where it was measured "
        "(benchmarks/results/balance.json)",
    ),
}


def without_retired(tree: Mapping[str, Any], place: str) -> Tree:
    """A run file without its retired fields, and with those that were renamed under the name they have now.

    Raises:
        ConfigError: one of them asks for what is no longer there.
    """
    kept = _without_replaced(tree, place)
    for (section, field), (harmless, why) in RETIRED.items():
        fields = kept.get(section)
        if not isinstance(fields, dict) or field not in fields:
            continue
        if fields[field] != harmless:
            raise ConfigError(f"{place}: {section}.{field} is {fields[field]!r}, which {why}. Remove the line")
        kept[section] = {name: value for name, value in fields.items() if name != field}
        _log.info("%s: %s.%s is no longer a field, and says what holds anyway", place, section, field)
    return _renamed(kept, RunConfig, place)


def _without_replaced(tree: Mapping[str, Any], place: str) -> Tree:
    """A run file without fields that other settings replace; a warning where somebody had chosen their value."""
    kept = dict(tree)
    for (section, field), (default, why) in REPLACED.items():
        fields = kept.get(section)
        if isinstance(fields, dict) and field in fields:
            level = logging.INFO if fields[field] == default else logging.WARNING
            _log.log(level, "%s: %s.%s %s", place, section, field, why)
            kept[section] = {name: value for name, value in fields.items() if name != field}
    return kept


def name_now(section: type[Section], field: str) -> str:
    """The name that a field of a section has now."""
    return RENAMED.get(section, {}).get(field, field)


def _renamed(node: Any, section: type[Section] | None, place: str) -> Any:
    """A part of a run file with its fields under their names now; where both stand, the older one stays a fault."""
    if isinstance(node, list):
        return [_renamed(item, section, place) for item in node]
    if not isinstance(node, dict) or section is None:
        return node
    fields: dict[Any, Any] = {}
    for key, value in node.items():
        now = name_now(section, key)
        known = section.model_fields.get(now)
        if now != key:
            _log.info("%s: %s is called %s now", place, key, now)
        inner = section_in(known.annotation) if known else None
        fields[key if now in node else now] = _renamed(value, inner, place)
    return fields
