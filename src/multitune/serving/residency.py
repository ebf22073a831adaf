"""Which of the adapters that are served lie in memory: at most so many, the least recently used leaves first."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from multitune.core.bases import BASE
from multitune.model.bank import AdapterBank
from multitune.serving.requests import AdapterUnavailableError

Loader = Callable[[AdapterBank], Any]


@dataclass(slots=True)
class ResidentAdapters:
    """Adapters of a bank that can be read again when they are needed; for the engine's thread.

    Those that were put into the bank by others are no concern of it.
    """

    bank: AdapterBank
    most: int | None = None  # in memory; None for all
    loads: int = 0  # so far
    _loaders: dict[str, Loader] = field(default_factory=dict[str, Loader])  # of all that are served
    _recent: dict[str, None] = field(default_factory=dict[str, None])  # in memory, the least recently used first

    def know(self, name: str, loader: Loader) -> None:
        """Serve an adapter from now on, which `loader` puts into the bank under this name."""
        self._loaders.setdefault(name, loader)

    def has(self, name: str) -> bool:
        """Whether an adapter, or the base, lies in memory; it counts as used."""
        if name in self._recent:
            del self._recent[name]
            self._recent[name] = None
        return name == BASE or name in self.bank.names

    def bring(self, name: str, used: Collection[str]) -> bool:
        """Read an adapter if it does not lie in memory; False where those in use leave no room.

        Args:
            name: of it.
            used: adapters that cannot leave.

        Raises:
            AdapterUnavailableError: it is not served.
            AdapterError: it cannot be read.
        """
        if self.has(name):
            return True
        if name not in self._loaders:
            raise AdapterUnavailableError(f"adapter {name!r} is loaded no longer")
        while self.most is not None and len(self._recent) >= self.most:
            idle = next((one for one in self._recent if one not in used), None)
            if idle is None:
                return False
            self._take_out(idle)
        self._loaders[name](self.bank)
        self._recent[name] = None
        self.loads += 1
        return True

    def forget(self, name: str) -> None:
        """Serve an adapter no more."""
        self._loaders.pop(name, None)
        if name in self.bank.names:
            self._take_out(name)

    def _take_out(self, name: str) -> None:
        self.bank.remove(name)
        self._recent.pop(name, None)
