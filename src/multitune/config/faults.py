"""What pydantic finds wrong with a run, as lines that name the place, the value and the remedy."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from multitune.config.peers import COUNTERPARTS, tool_of
from multitune.config.schema import RunConfig, Section
from multitune.core.errors import suggest

_UNION_TAG = re.compile(r"(literal|tuple)\[|AdapterConfig$|bool$|constrained-float$")


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field holds, alone or as the items of a list; None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def fault_lines(error: ValidationError, root: type[Section] = RunConfig) -> list[str]:
    """One line per fault, such as `tasks[2].metrik is not a field. Did you mean 'metric'? All: …`.

    Args:
        error: of pydantic.
        root: the section that was validated.
    """
    listed: set[type[Section]] = set()
    return [line for fault in error.errors(include_url=False) for line in _lines(fault, root, listed)]


def unknown_field(key: str, section: type[Section], *, listed: bool = False) -> str:
    """What to say of a name that is no field of a section: another tool's, of another section, or a typo.

    Args:
        key: as the user wrote it.
        section: where it stands.
        listed: whether the message that this becomes part of names the section's fields already.
    """
    if meaning := COUNTERPARTS.get(key):
        return f"is not a field. {'Here it is' if meaning.startswith('`') else 'It has no counterpart:'} {meaning}"
    if place := _place_of(key, section):
        return f"is not a field here. It is `{place}`"
    hint, _, fields = suggest(key, section.model_fields).partition("All: ")
    if listed:
        return f"is not a field. {hint}".rstrip()
    return f"is not a field. {hint}All: {fields}"


def _place_of(key: str, section: type[Section]) -> str:
    """Where else in a run a field of this name stands; empty where it does not, or the section is of no run file."""
    sections = {section_in(field.annotation) for field in RunConfig.model_fields.values()}
    if section is not RunConfig and section not in sections:
        return ""
    for name in ("train", "lora", "mixture", "evaluate", "router", "tasks"):
        inner = section_in(RunConfig.model_fields[name].annotation)
        if inner and inner is not section and key in inner.model_fields:
            return f"{name}.{key}"
    return key if section is not RunConfig and key in RunConfig.model_fields else ""


def config_of_tool(fields: Mapping[str, Any]) -> str | None:
    """Which other tool a whole file is the config of, rather than a run file; None where it is ours.

    Args:
        fields: the top level of the file.
    """
    theirs = [key for key in fields if key in COUNTERPARTS]
    return tool_of(fields) if len(theirs) > 2 and len(theirs) > len(fields.keys() & RunConfig.model_fields) else None


def _lines(fault: ErrorDetails, root: type[Section], listed: set[type[Section]]) -> Iterator[str]:
    loc, kind = fault["loc"], fault["type"]
    # A field that takes a word or a list or an adapter is tried as each: speak of the one that was meant.
    tags = [part for part in loc if _UNION_TAG.match(str(part))]
    if tags and loc[-1] == tags[-1]:
        if kind == "literal_error" and isinstance(fault["input"], list | dict):
            return
        if kind in ("model_type", "bool_parsing", "bool_type") or (
            kind == "tuple_type" and not isinstance(fault["input"], dict)
        ):
            return
    if kind == "too_short" and len(fault["input"]) >= fault.get("ctx", {})["min_length"]:
        return  # its items are faulty, not missing, and each has a line of its own
    place = _place([part for part in loc if part not in tags])
    if kind == "value_error":
        start = f"{place}: " if place else ""
        yield from (start + line for line in str(fault.get("ctx", {}).get("error", fault["msg"])).split("\n"))
    elif kind == "extra_forbidden":
        section = _section_at(loc, root)
        line = unknown_field(str(loc[-1]), section, listed=section in listed)
        listed |= {section} if "All: " in line else set()
        yield f"{place} {line}"
    else:
        yield _line(fault, place, root)


def _place(loc: Sequence[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def _section_at(loc: Sequence[int | str], root: type[Section]) -> type[Section]:
    """The section that owns the last name of a place."""
    section = root
    for part in loc[:-1]:
        field = section.model_fields.get(str(part))
        section = (section_in(field.annotation) if field else None) or section
    return section


def _line(fault: ErrorDetails, place: str, root: type[Section]) -> str:
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "missing":
        field = _section_at(fault["loc"], root).model_fields[str(fault["loc"][-1])]
        return f"{place} is missing. {field.description}"
    if kind == "invalid_key":
        return f"{place} is a field's name, which must be text. Put it in quotes"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return f"{place} is {_short(value)}. {suggest(value, allowed)}"
    if kind == "too_short":
        return f"{place} is empty. Give at least {context['min_length']}"
    if kind == "string_pattern_mismatch":
        return f"{place} is {_short(value)}. Use at most 64 letters, digits, '.', '_' and '-', no sign first"
    if value is None:
        return f"{place} is empty. Fill it or remove the line"
    needs = {
        "string_type": "text; put it in quotes",
        "model_type": "a mapping of fields",
        "dict_type": "a mapping of names",
        "tuple_type": "a list",
        "byte_size": "a number of bytes with its unit, such as 16GiB",
        "byte_size_unit": "a number of bytes with its unit, such as 16GiB",
    }
    remedy = needs.get(kind) or fault["msg"].removeprefix("Input should be ")
    return f"{place} is {_short(value)}; it must be {remedy}"


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
