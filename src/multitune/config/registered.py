"""Fields that name something registered: of multitune itself, or of a package that adds to it."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from multitune.core.plugins import Group, plugin_names

SCHEDULES = ("round_robin", "proportional", "sqrt", "temperature", "fixed", "anneal", "focus")
ROUTERS = ("discriminant", "softmax")


@dataclass(frozen=True, slots=True)
class _Registered:
    """The names that a field takes; those of plugins are looked up only where a name is not our own."""

    own: tuple[str, ...]
    group: Group

    def check(self, value: Any) -> Any:
        if value in self.own or value in plugin_names(self.group):
            return value
        expected = ", ".join(repr(name) for name in self._names())
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})

    def _names(self) -> list[str]:
        return list(dict.fromkeys([*self.own, *plugin_names(self.group)]))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": self._names()}


_SCHEDULE = _Registered(SCHEDULES, "multitune.schedules")
_ROUTER = _Registered(ROUTERS, "multitune.routers")
Schedule = Annotated[str, BeforeValidator(_SCHEDULE.check), _SCHEDULE]
RouterKind = Annotated[str, BeforeValidator(_ROUTER.check), _ROUTER]
