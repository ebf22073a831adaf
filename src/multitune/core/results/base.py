"""What every result has in common: a typed, frozen record, and documents with a version of their schema."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from multitune.core.errors import RunFolderError
from multitune.core.files import read_json, write_json

_log = logging.getLogger(__name__)


class Record(BaseModel):
    """A typed part of a result; fields that this version does not know are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")

    def plain(self) -> dict[str, Any]:  # the one way out of the types: for JSON
        """Plain values, as they stand in the file."""
        return self.model_dump(mode="json")


class Document(Record):
    """A result that is a file of its own, or the JSON of a command.

    `schema_version` counts up when a field is renamed, moved or means something else; `upgrade` then turns what the
    version before wrote into what this one reads. A field that is added with a default needs neither.
    """

    REMEDY: ClassVar[str] = "multitune eval RUN"  # the command that writes it again

    schema_version: int = 1

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """`value` as the version after `version` would have written it; 0 is a file without a version."""
        return value

    @classmethod
    def read(cls, path: Path) -> Self:
        """The document in a file, whichever version wrote it.

        Raises:
            RunFolderError: missing, damaged, or written by a newer multitune.
        """
        return cls.parse(read_json(path), str(path))

    @classmethod
    def read_if_made(cls, path: Path) -> Self | None:
        """The document in a file; None where there is no file, as of what was not asked for.

        Raises:
            RunFolderError: damaged, or written by a newer multitune.
        """
        return cls.read(path) if path.exists() else None

    @classmethod
    def parse(cls, value: Any, place: str) -> Self:
        """A document from plain values; `place` says where they come from, for messages.

        Raises:
            RunFolderError: damaged, or of a newer schema.
        """
        if not isinstance(value, dict):
            raise RunFolderError(f"{place}: damaged: it holds no object. Write it again: {cls.REMEDY}")
        version, current = value.get("schema_version", 0), cls.model_fields["schema_version"].default
        if not isinstance(version, int) or version > current:
            raise RunFolderError(
                f"{place}: written by a newer multitune (schema {version}; this one reads up to {current}). "
                "Upgrade multitune: pip install --upgrade multitune"
            )
        try:
            if version < current:
                _log.info("%s: schema %s is read as %s", place, version, current)
            for older in range(version, current):
                value = cls.upgrade(older, dict(value))
            return cls.model_validate({**value, "schema_version": current})
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(f"{place}: damaged: {first_fault(error)}. Write it again: {cls.REMEDY}") from error

    def write(self, path: Path) -> None:
        """Replace the file as a whole.

        Raises:
            StorageError: the disk is full or not writable; the older file stays.
        """
        write_json(path, self.plain())


def first_fault(error: Exception) -> str:
    """What is wrong first, as `place: message`."""
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
    return repr(error)


def renamed(value: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """An object with some of its keys renamed, for `Document.upgrade`."""
    return {names.get(key, key): part for key, part in value.items()}
