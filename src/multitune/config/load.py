"""A run file plus `--set a.b=c` to one validated RunConfig; all faults come at once, each with its remedy."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import JsonSchemaValue

from multitune.config.adapters import adapter_faults
from multitune.config.faults import config_of_tool, fault_lines, section_in, unknown_field
from multitune.config.retired import name_now, without_retired
from multitune.config.schema import RunConfig, Section
from multitune.config.shorthand import expand_short_forms, locate
from multitune.config.text import read_text, read_yaml, write_yaml
from multitune.core.errors import ConfigError, suggest
from multitune.core.files import write_text
from multitune.core.seals import sealed_yaml, unsealed_yaml


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file; relative paths in it start at its folder.

    Args:
        path: a YAML file.
        overrides: `field.path=value` each, the value in YAML: `train.epochs=1`, `tasks.tweets.limit=100`.

    Raises:
        ConfigError: with one line per fault, each naming the place, the value and the remedy.

    >>> config = multitune.load_config("run.yaml", ["train.epochs=2"])
    >>> [task.name for task in config.tasks], config.train.epochs
    (['colours', 'copy'], 2.0)
    """
    file = Path(path).expanduser()
    return parse_config(plain_config(file), file.absolute().parent, overrides, str(file))


def plain_config(file: Path) -> dict[str, Any]:
    """What a run file says, as plain values and not validated: one of a newer multitune may have other fields.

    Raises:
        ConfigError: it cannot be read, holds no fields, or was changed since multitune wrote it for itself.
    """
    raw = read_yaml(config_text(file), str(file))
    if not raw:
        raise ConfigError(f"{file}: empty. A run needs at least `tasks`")
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{file}: a {type(raw).__name__} at the top level. A run is a mapping of fields, such as `tasks: …`"
        )
    return raw


def parse_config(
    raw: Mapping[str, Any], folder: Path, overrides: Sequence[str] = (), place: str = "config"
) -> RunConfig:
    """Validate what a run file says; relative paths start at `folder`, and messages at `place`.

    Raises:
        ConfigError: with one line per fault.
    """
    # Templates first: the other overrides may reach into what a template brings.
    templates_first = sorted(overrides, key=lambda override: not override.partition("=")[0].endswith(".use"))
    tree = without_retired(raw, place)
    for override in templates_first:
        if not override.partition("=")[0].endswith(".use"):
            tree = expand_short_forms(tree, place)
        tree = _override(tree, override)
    try:
        config = RunConfig.model_validate(locate(expand_short_forms(tree, place), folder.absolute()))
    except ValidationError as error:
        tool = config_of_tool(raw)
        hint = f"this is a config of {tool}. `multitune import {place}` makes a run file of it"
        faults = [hint] if tool else fault_lines(error)
    else:
        faults = adapter_faults(config)
        if not faults:
            return config
    raise ConfigError("\n".join(f"{place}: {fault}" for fault in faults))


def dump_config(config: RunConfig) -> str:
    """YAML that states every field, so that neither new defaults nor new templates change what it means."""
    return write_yaml(config.model_dump(mode="json"))


def write_config(path: Path, config: RunConfig) -> None:
    """Write a run file for multitune itself, sealed.

    Raises:
        StorageError: the disk is full or not writable; the older file stays.
    """
    write_text(path, sealed_yaml(dump_config(config)))


def holds_config(path: Path, config: RunConfig) -> bool:
    """Whether a file says what `write_config` would write.

    Raises:
        ConfigError: it cannot be read, or was changed since it was written.
    """
    return config_text(path) == dump_config(config)


def config_text(file: Path) -> str:
    """The text of a run file, without the seal of one that multitune wrote for itself.

    Raises:
        ConfigError: it cannot be read, or was changed since it was written.
    """
    try:
        return unsealed_yaml(read_text(file))
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{file}: {error}. Undo that, or delete its first line if it was on purpose") from error


def config_schema() -> JsonSchemaValue:
    """JSON schema of a run file for editors, short forms included."""
    schema = RunConfig.model_json_schema()
    schema["description"] = schema["description"].partition("\n")[0]  # without the examples of its docstring
    task = schema["$defs"]["TaskConfig"]
    del task["required"]  # a template may bring any of them
    task["anyOf"] = [{"required": ["name"]}, {"required": ["use"]}]
    for field, short in (("data", {"type": "string"}), ("limit", {"type": "integer", "minimum": 1})):
        full = task["properties"][field]
        description = full.pop("description")
        task["properties"][field] = {"anyOf": [short, full], "description": description}
    audit = schema["properties"]["audit"]
    mode = {key: schema["$defs"]["AuditConfig"]["properties"]["mode"][key] for key in ("enum", "type")}
    schema["properties"]["audit"] = {"anyOf": [mode, audit], "description": audit.pop("description")}
    adapter = schema["$defs"]["AdapterConfig"]
    adapter["required"].remove("tasks")  # all, when absent
    shares = {"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}}
    adapter["properties"]["general"]["anyOf"].append(shares)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "multitune run"}


def _override(tree: dict[str, Any], override: str) -> dict[str, Any]:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {override}: write field=value, such as train.epochs=1")
    value = read_yaml(text, f"--set {override}")
    if isinstance(value, dict) and (key := next((key for key in value if _holds_its_value(key, value)), None)):
        spaced = re.sub(r":(?=\S)", ": ", text)
        raise ConfigError(f"--set {override}: {key!r} lacks the space behind its colon. Write '{path}={spaced}'")
    try:
        return _assigned(tree, RunConfig, re.sub(r"\[(\d+)\]", r".\1", path.strip()), value)
    except ConfigError as error:
        raise ConfigError(f"--set {override}: {error}") from error


def _holds_its_value(key: object, value: dict[Any, Any]) -> bool:
    """Whether a key took its value along, as `train:500` in braces does in YAML."""
    return isinstance(key, str) and ":" in key and value[key] is None


def _assigned(node: Any, section: type[Section] | None, path: str, value: Any) -> Any:
    """A copy of `node` with `value` at `path`; `section` says which fields it and its items may have."""
    if not path:
        return value
    if isinstance(node, list):
        index, rest = _item(node, path)
        return [*node[:index], _assigned(node[index], section, rest, value), *node[index + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"{node!r} has no part {path!r}. Set the whole field instead")
    fields = node or {}
    if section is None:  # keyed by task names, which may hold dots
        return {**fields, path: value}
    key, _, rest = path.partition(".")
    key = name_now(section, key)
    if key not in section.model_fields:
        raise ConfigError(f"{key!r} {unknown_field(key, section)}")
    inner = section_in(section.model_fields[key].annotation)
    return {**fields, key: _assigned(fields.get(key), inner, rest, value)}


def _item(items: list[Any], path: str) -> tuple[int, str]:
    """Which item of a list a path means, by place or by name, and the rest of the path."""
    head, _, rest = path.partition(".")
    if head.isdecimal() and int(head) < len(items):
        return int(head), rest
    named = {str(i.get("name", i.get("use"))): at for at, i in enumerate(items) if isinstance(i, dict)}
    for name in sorted(named, key=len, reverse=True):  # names may hold dots: the longest that fits is meant
        if f"{path}.".startswith(f"{name}."):
            return named[name], path[len(name) + 1 :]
    raise ConfigError(f"no item {head!r}. {suggest(head, [*named] or map(str, range(len(items))))}")


if __name__ == "__main__":
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
