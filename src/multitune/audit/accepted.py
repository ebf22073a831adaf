"""Findings that a person has looked at and accepted, each with the reason: read from a file beside the run file."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from multitune.config.text import read_text, read_yaml, write_yaml
from multitune.core.errors import ConfigError
from multitune.core.results.audit import Finding

FIELDS = ("finding", "reason")


def read_accepted(path: Path | str | None) -> dict[str, str]:
    """Key of each accepted finding -> why it is no fault; none where there is no file.

    Raises:
        ConfigError: with one line per fault: no such file, no list, an entry without finding or reason.
    """
    if path is None:
        return {}
    entries = read_yaml(read_text(Path(path)), str(path))
    if entries is None:
        return {}
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: holds no list. Write a line `- finding: KEY` and `  reason: TEXT` for each")
    accepted: dict[str, str] = {}
    faults: list[str] = []
    for place, entry in enumerate(entries):
        if fault := _fault(entry, accepted):
            faults.append(f"{path}: [{place}]{fault}")
        else:
            accepted[entry["finding"]] = entry["reason"].strip()
    if faults:
        raise ConfigError("\n".join(faults))
    return accepted


def _fault(entry: Any, before: Collection[str]) -> str:
    """What is wrong with an entry, behind its place; empty where nothing is."""
    if not isinstance(entry, dict):
        return f" is {entry!r:.60}. Give it as `finding: KEY` and `reason: TEXT`"
    if odd := [key for key in entry if key not in FIELDS]:
        return f".{odd[0]} is not a field. All: {', '.join(FIELDS)}"
    for field in FIELDS:
        value = entry.get(field)
        if not isinstance(value, str) or not value.strip():
            needed = "the key that `multitune audit` prints" if field == "finding" else "why it is no fault"
            return f".{field} is {'missing' if value is None else repr(value)}. Write {needed}, as text"
    if entry["finding"] in before:
        return f".finding is {entry['finding']!r}, which stands above already. Remove one of them"
    return ""


def with_accepted(findings: Iterable[Finding], accepted: Mapping[str, str]) -> list[Finding]:
    """The findings, with the reason at each that is accepted."""
    return [one.model_copy(update={"accepted": accepted.get(one.key)}) for one in findings]


def stale_keys(findings: Iterable[Finding], accepted: Mapping[str, str], made: Collection[str]) -> tuple[str, ...]:
    """Keys of accepted findings that no longer occur; of a check that was not made, nothing is known.

    Args:
        findings: all that were found.
        accepted: by key.
        made: names of the checks that were made.
    """
    occurring = {one.key for one in findings}
    return tuple(key for key in accepted if key not in occurring and key.partition(":")[0] in made)


def accept_entry(finding: Finding) -> str:
    """What to write into the file to accept a finding."""
    return write_yaml([{"finding": finding.key, "reason": "…"}])
