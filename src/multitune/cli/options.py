"""A record's fields as options of a command: a command with many options still takes few parameters."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer should see it: each parameter that is a dataclass replaced by the fields of it.

    A field is declared like any parameter of a command: ``split: Annotated[str | None, typer.Option(...)] = None``.
    """
    hints = get_type_hints(command, include_extras=True)
    records = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
    seen: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in records:
            seen[name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
            continue
        types = get_type_hints(records[name], include_extras=True)
        for field in fields(records[name]):
            seen[field.name] = inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=_default(field), annotation=types[field.name]
            )

    @wraps(command)
    def called(**values: Any) -> None:
        given = {
            name: record(**{field.name: values.pop(field.name) for field in fields(record)})
            for name, record in records.items()
        }
        command(**values, **given)

    setattr(called, "__signature__", inspect.Signature(list(seen.values())))  # noqa: B010 (no attribute of a type)
    called.__annotations__ = {name: parameter.annotation for name, parameter in seen.items()}
    return called


def _default(field: "Field[Any]") -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is MISSING else field.default
