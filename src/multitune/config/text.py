"""YAML text to plain values and back; every fault of a file is one message with its line."""

import re
from pathlib import Path
from typing import Any

import yaml

from multitune.core.errors import ConfigError, suggest
from multitune.core.untrusted import bound, raised_by, read_bytes

Tree = dict[str, Any]  # a mapping as YAML reads it, before it is validated

REMEDY = "Indent with spaces, and quote a text that holds ': ' or ' #' or starts with {, [, %, @, * or &"


_TOO_MANY = "more values than a run can have, perhaps by aliases of aliases; {}"


class _TooMuchError(Exception):
    """More than any run file holds."""


class _Loader(yaml.SafeLoader):
    """Safe YAML with the numbers and the true/false of YAML 1.2, without keys given twice or values without end."""

    _count = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        self._count += 1
        if self._count > bound("CONFIG_VALUES"):
            raise _TooMuchError(_TOO_MANY.format(raised_by("CONFIG_VALUES")))
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        assert node is not None
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                problem = f"the key {key.value!r} is given twice, first on line {lines[name]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark, note="Remove one of them")
            lines[name] = line
        return node


class _Dumper(yaml.SafeDumper):
    """Safe YAML with long texts as blocks; quotes whatever `_Loader` would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Plain YAML 1.1 reads 1e-5 as text, and the labels [yes, no] as [true, false].
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # YAML folds the rare line breaks (NEL, LS, PS) into spaces unless they are escaped, as double quotes do.
    rare = any(mark in text for mark in "\x85\u2028\u2029")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if rare else "|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def read_text(path: Path) -> str:
    """The text of a file of UTF-8, without a byte order mark.

    Raises:
        ConfigError: no such file, not readable, binary, or in another encoding.
    """
    try:
        data = read_bytes(path, "CONFIG_BYTES")
    except FileNotFoundError as error:
        peers = sorted(file.name for file in path.parent.glob("*.y*ml"))
        remedy = suggest(path.name, peers) if peers else "Check the path"
        raise ConfigError(f"{path}: no such file. {remedy}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Give the path of a YAML file") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path}: text in UTF-16. Save it as UTF-8")
    if b"\0" in data:
        raise ConfigError(f"{path}: a binary file. Give the path of a YAML file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} line {line}: byte {data[error.start]:#04x} is not UTF-8. Save it as UTF-8"
        ) from error


def read_yaml(text: str, place: str) -> Any:
    """Plain values of one YAML document; nothing in them is shared, even where the text uses aliases.

    Raises:
        ConfigError: bad syntax, a key given twice, or nesting without end.
    """
    try:
        return _Unsharing().of(yaml.load(text, _Loader))  # nosec B506  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{place}{where}: {error.problem or error.context}. {error.note or REMEDY}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise ConfigError(f"{place} line {line}: a control character. Remove it") from error
    except _TooMuchError as error:
        raise ConfigError(f"{place}: {error}") from error
    except (ValueError, OverflowError) as error:  # a date such as 2024-13-45
        raise ConfigError(f"{place}: {str(error)[:200]}. Quote what is meant as text") from error
    except (RecursionError, MemoryError) as error:
        raise ConfigError(f"{place}: nested too deeply, or an alias within itself. Write it out flat") from error


class _Unsharing:
    """Values of their own for every alias, as many as a run can have."""

    def __init__(self) -> None:
        self._left = bound("CONFIG_VALUES")

    def of(self, value: Any) -> Any:
        """A copy without anything shared."""
        self._left -= 1
        if self._left < 0:
            raise _TooMuchError(_TOO_MANY.format(raised_by("CONFIG_VALUES")))
        if isinstance(value, dict):
            return {key: self.of(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.of(part) for part in value]
        if isinstance(value, int) and value.bit_length() > 4096:
            raise _TooMuchError("a number of more digits than any setting has. Correct it")
        return value


def write_yaml(value: Any) -> str:
    """YAML that `read_yaml` reads back as the same values."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=119)
