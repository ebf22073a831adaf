"""What pydantic finds wrong with a run, as lines that name the place, the value and the remedy."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

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
    return [line for fault in error.errors(include_url=False) for line in _lines(fault, root)]


def _lines(fault: ErrorDetails, root: type[Section]) -> Iterator[str]:
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
    if kind == "extra_forbidden":
        return f"{place} is not a field. {suggest(fault['loc'][-1], _section_at(fault['loc'], root).model_fields)}"
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
    }
    remedy = needs.get(kind) or fault["msg"].removeprefix("Input should be ")
    return f"{place} is {_short(value)}; it must be {remedy}"


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
