"""Fields that older run files may hold: renamed, dropped where they say what is now the only way, or refused."""

import logging
from collections.abc import Mapping
from typing import Any

from multitune.core.errors import ConfigError

_log = logging.getLogger(__name__)

# (section, field) -> its name now
RENAMED = {("router", "turned_away"): "max_abstained"}
# (section, field) -> (the value that changes nothing, why any other is refused)
RETIRED = {
    ("train", "balance"): (
        "sum",
        "was removed: neither FAMO nor PCGrad gained over the plain sum where it was measured "
        "(benchmarks/results/balance.json)",
    ),
}


def without_retired(tree: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A run file without its retired fields, and with those that were renamed under the name they have now.

    Raises:
        ConfigError: one of them asks for what is no longer there.
    """
    kept = dict(tree)
    for (section, field), (harmless, why) in RETIRED.items():
        fields = kept.get(section)
        if not isinstance(fields, dict) or field not in fields:
            continue
        if fields[field] != harmless:
            raise ConfigError(f"{place}: {section}.{field} is {fields[field]!r}, which {why}. Remove the line")
        kept[section] = {name: value for name, value in fields.items() if name != field}
        _log.info("%s: %s.%s is no longer a field, and says what holds anyway", place, section, field)
    for (section, field), now in RENAMED.items():
        fields = kept.get(section)
        if isinstance(fields, dict) and field in fields and now not in fields:
            kept[section] = {now if name == field else name: value for name, value in fields.items()}
            _log.info("%s: %s.%s is called %s.%s now", place, section, field, section, now)
    return kept
