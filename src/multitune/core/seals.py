"""Seals: a digest inside of each file that multitune writes for itself, so that a changed one is refused.

They show damage, not malice: who changes a file on purpose can seal it anew. What holds no seal, such as the files of
older versions and of other tools, is read as it is.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitune.core.untrusted import open_regular, parse_json

SEAL = "seal"  # the field of an object that holds it
CHANGED = "it was changed since it was written"
_YAML_SEAL = f"# {SEAL}: "


def seal_of(value: object) -> str:
    """16 hex digits over a JSON value, however it is laid out."""
    plain = json.loads(json.dumps(value))  # keys become text, as they are in the file
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its seal."""
    return {**value, SEAL: seal_of(value)}


def unsealed(value: Any) -> Any:
    """A JSON value as it was before it was sealed.

    Raises:
        ValueError: it has another seal.
    """
    if not isinstance(value, dict) or SEAL not in value:
        return value
    rest = {key: part for key, part in value.items() if key != SEAL}
    if seal_of(rest) != value[SEAL]:
        raise ValueError(CHANGED)
    return rest


def json_line(value: Mapping[str, Any]) -> str:
    """An object as a sealed line of a file of JSON lines."""
    return json.dumps(sealed(value), ensure_ascii=False) + "\n"


def parse_line(line: str | bytes) -> Any:
    """The value of a line of JSON, sealed or not.

    Raises:
        ValueError: it is not JSON, or was changed.
    """
    return unsealed(parse_json(line))


def sealed_yaml(text: str) -> str:
    """YAML with a comment as its first line that seals the rest: what is cut off at the end is missed."""
    return f"{_YAML_SEAL}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n{text}"


def unsealed_yaml(text: str) -> str:
    """YAML as it was before it was sealed.

    Raises:
        ValueError: it has another seal.
    """
    if not text.startswith(_YAML_SEAL):
        return text
    body = text.partition("\n")[2]
    if sealed_yaml(body) != text:
        raise ValueError(CHANGED)
    return body


def save_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    """Write tensors of torch as safetensors, sealed.

    Raises:
        OSError: the disk is full or not writable.
    """
    from safetensors.torch import save_file

    save_file(dict(tensors), path, metadata=_metadata(tensors))


def tensors_bytes(tensors: Mapping[str, Any]) -> bytes:
    """What `save_tensors` writes."""
    from safetensors.torch import save

    return save(dict(tensors), metadata=_metadata(tensors))


def load_tensors(path: Path, kind: str = "pt") -> dict[str, Any]:
    """The tensors of a safetensors file, sealed or not.

    Args:
        path: of the file.
        kind: `pt` for tensors of torch, `np` for arrays of numpy.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is no safetensors file, or was changed.
    """
    from safetensors import SafetensorError, safe_open

    open_regular(path).close()
    try:
        with safe_open(path, framework=kind) as file:
            seal = (file.metadata() or {}).get(SEAL)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if seal is not None and seal != _tensors_seal(tensors):
        raise ValueError(CHANGED)
    return tensors


def _metadata(tensors: Mapping[str, Any]) -> dict[str, str]:
    """One entry: the order of several would change from file to file."""
    return {SEAL: _tensors_seal(tensors)}


def _tensors_seal(tensors: Mapping[str, Any]) -> str:
    """16 hex digits over names, types, shapes and values, one tensor at a time in memory."""
    from safetensors import numpy, torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        one = tensors[name]
        save = numpy.save if type(one).__module__ == "numpy" else torch.save
        digest.update(save({name: one}))
    return digest.hexdigest()[:16]
