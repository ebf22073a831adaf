"""The contract of whoever holds the adapters and answers: the engine in this process, or another server.

The router, the names of models, the limits and the routes of the API lie before it, and are the same for both.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from multitune.core.records import Message, Segments
from multitune.inference.chat import Endpoint
from multitune.serving.calls import Call
from multitune.serving.requests import EngineStats

T = TypeVar("T")
NO_FAULTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Who answers, and how many calls it has at a time."""

    endpoint: Endpoint
    max_calls: int = 320  # answers under way; others are told to retry
    silence_seconds: float = 600.0  # that it may send nothing in the middle of a call


class Backend(ABC):
    """Holds the base with its adapters, and answers calls; the adapter of each is decided before."""

    @property
    @abstractmethod
    def longest(self) -> int:
        """Most tokens of a prompt and its answer."""

    @property
    @abstractmethod
    def stats(self) -> EngineStats:
        """A copy of the figures of this moment."""

    @property
    def faults(self) -> Mapping[str, str]:
        """Adapter -> why it cannot be asked at the moment."""
        return NO_FAULTS

    @property
    def max_loras(self) -> int | None:
        """How many adapters lie in memory at a time; None for all, or where it is not known."""
        return None

    @property
    def outage(self) -> str:
        """Why nothing can be answered at the moment; empty where all is well."""
        return ""

    @abstractmethod
    def require_room(self, requests: int = 1) -> None:
        """Refuse what the queue cannot take.

        Raises:
            OverloadedError: too many requests wait already.
        """

    @abstractmethod
    async def whole(self, call: Call) -> str:
        """All answers of a call, as the JSON of one body.

        Raises:
            InputError, OverloadedError: the call is not taken.
            MultituneError: it failed.
        """

    @abstractmethod
    def chunks(self, call: Call) -> AsyncGenerator[str]:
        """A call's answers as they come, each message as JSON; left early, nothing more is computed.

        Raises:
            MultituneError: as `whole`; what is refused is refused before the first message.
        """

    @abstractmethod
    def load(self, version: str, folder: Path) -> None:
        """Hold an adapter from now on, beside those that are held, or keep one that was to go.

        Args:
            version: what it is called, `name@digest`.
            folder: in PEFT's format.

        Raises:
            InputError: the folder is not as it must be; nothing has changed.
        """

    @abstractmethod
    def retire(self, version: str) -> None:
        """Hold an adapter no longer than the calls that need it."""

    @abstractmethod
    def losses(self, version: str, rows: Sequence[Segments]) -> list[float] | None:
        """Mean negative log-likelihood of each answer, in nats, nan where it failed; None where it cannot be had.

        Args:
            version: of the adapter, or `base`.
            rows: prompts with the answers in question.
        """

    @abstractmethod
    def beginnings(self, version: str, chats: Sequence[Sequence[Message]], tokens: int) -> list[str] | None:
        """What is written to each chat first, greedily; None where it follows from the likelihoods.

        Args:
            version: of the adapter, or `base`.
            chats: messages, the system text among them.
            tokens: of each answer.
        """

    @abstractmethod
    def run(self, job: Callable[[], T]) -> "Future[T]":
        """Do something with the layers of the base, where it is safe; for a router that reads them.

        Raises:
            InputError: it holds no layers.
        """

    @abstractmethod
    def refresh(self) -> None:
        """Look after what may change by itself; called every second or so."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Let go of what belongs to the event loop, at its end."""

    @abstractmethod
    def close(self) -> None:
        """End; calls that are under way end with it."""
