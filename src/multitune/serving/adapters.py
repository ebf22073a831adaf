"""The adapters of a server while it runs: loaded, replaced and unloaded without disturbing who is being answered."""

import hashlib
import logging
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

from multitune.core.bases import BASE
from multitune.core.errors import AdapterError, InputError, suggest
from multitune.model.files import CONFIG, WEIGHTS
from multitune.serving.backend import Backend

_log = logging.getLogger(__name__)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
UNSAFE = {".bin", ".pt", ".pth", ".pkl", ".pickle"}


class UnknownAdapterError(InputError):
    """No adapter has this name, or no folder is there."""


@dataclass(slots=True)
class ServedAdapters:
    """Names of adapters, each of which means one version: weights that never change, called `name@digest`."""

    backend: Backend
    root: Path  # folders of adapters lie inside it
    _versions: dict[str, str] = field(default_factory=dict[str, str])  # name -> version, as the backend calls it
    paths: dict[str, Path] = field(default_factory=dict[str, Path])
    _changing: threading.Lock = field(default_factory=threading.Lock)  # two of the same name would lose one

    @property
    def names(self) -> list[str]:
        """All that requests may name."""
        return list(self._versions)

    @property
    def versions(self) -> dict[str, str]:
        """What the backend calls each of them, and the base, at this moment."""
        return {BASE: BASE, **self._versions}

    def version(self, name: str) -> str:
        """What the backend calls an adapter, or the base, now.

        Raises:
            UnknownAdapterError: it is not loaded.
        """
        if name == BASE:
            return BASE
        if name not in self._versions:
            raise UnknownAdapterError(f"no adapter {name!r} is loaded. {suggest(name, [BASE, *self._versions])}")
        return self._versions[name]

    def load(self, name: str, path: str, replace: bool = False) -> str:
        """Check a folder, load it, and let the name mean it from then on.

        Requests under way go on with the version that they began with; it goes when the last of them has ended.

        Args:
            name: letters, digits, `.`, `_` and `-`.
            path: of the folder, absolute or from `root`, inside which it must lie.
            replace: whether the name may be that of another one.

        Returns:
            The version.

        Raises:
            InputError: the name, the folder or what it holds is not as it must be; nothing has changed.
            UnknownAdapterError: there is no such folder.
        """
        if not NAME.fullmatch(name) or name in (BASE, "auto"):
            raise InputError(f"lora_name {name!r}: give letters, digits, '.', '_' and '-', at most 128 of them")
        folder = self._contained(path)
        version = f"{name}@{digest_of(folder)}"
        with self._changing:
            old = self._versions.get(name)
            if old and not replace:
                raise InputError(f"lora_name {name!r}: is loaded already. Replace it by load_inplace, or unload it")
            if version != old:
                self.backend.load(version, folder)
                self._versions[name], self.paths[name] = version, folder
                if old:
                    self.backend.retire(old)
        _log.info("adapter %s is served from %s", version, folder)
        return version

    def unload(self, name: str) -> None:
        """Let a name go; requests under way are answered to their end.

        Raises:
            UnknownAdapterError: it is not loaded.
        """
        with self._changing:
            if name == BASE:
                raise InputError("lora_name 'base': names the base model, which cannot be replaced or unloaded")
            self.backend.retire(self.version(name))
            del self._versions[name], self.paths[name]

    def _contained(self, path: str) -> Path:
        try:
            folder = (self.root / path).resolve()
            inside = folder.is_relative_to(self.root.resolve())
            there = folder.is_dir()
        except (OSError, ValueError) as error:
            raise InputError(f"lora_path {path!r}: is no path of a folder ({error})") from error
        if not inside:
            raise InputError(f"lora_path {path!r}: lies outside {self.root}, where adapters are taken from")
        if not there:
            raise UnknownAdapterError(f"lora_path {path!r}: there is no such folder in {self.root}")
        unsafe = sorted(file.name for file in folder.iterdir() if file.suffix in UNSAFE)
        if unsafe:
            raise AdapterError(f"{folder}: holds {unsafe[0]}, which could run code. Keep {WEIGHTS} alone")
        return folder


def digest_of(folder: Path) -> str:
    """Of an adapter's settings and weights, by which its versions are called."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        file = folder / name
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
