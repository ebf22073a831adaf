"""Fields that older run files may hold: renamed, dropped where they say what is now the only way, or refused."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Retired:
    """A field that is no longer one."""

    harmless: object  # the value that changes nothing
    why: str  # what holds instead of any other value
    refused: bool  # whether another value ends the run; else it is dropped with a warning


_BY_COST = Retired(0.05, "no longer holds: rejections are decided by what they cost (router.outside_cost)", False)
_BALANCE = Retired(
    "sum",
    "was removed: neither FAMO nor PCGrad gained over the plain sum where it was measured "
    "(benchmarks/results/balance.json)",
    True,
)
RETIRED: Mapping[tuple[str, str], Retired] = {  # (section, field) -> what became of it
    ("train", "balance"): _BALANCE,
    ("router", "max_abstained"): _BY_COST,
    ("router", "turned_away"): _BY_COST,
}


def without_retired(tree: Mapping[str, Any], place: str) -> Tree:
    """A run file without its retired fields, and with those that were renamed under the name they have now.

    Raises:
        ConfigError: one of them asks for what is no longer there.
    """
    kept = dict(tree)
    for (section, field), retired in RETIRED.items():
        fields = kept.get(section)
        if not isinstance(fields, dict) or field not in fields:
            continue
        asks = fields[field] != retired.harmless
        if asks and retired.refused:
            raise ConfigError(f"{place}: {section}.{field} is {fields[field]!r}, which {retired.why}. Remove the line")
        _log.log(logging.WARNING if asks else logging.INFO, "%s: %s.%s %s", place, section, field, retired.why)
        kept[section] = {name: value for name, value in fields.items() if name != field}
    return _renamed(kept, RunConfig, place)


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
