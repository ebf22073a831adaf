"""What the engine is asked, and what it delivers token by token."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from multitune.core.errors import MultituneError
from multitune.serving.grammars import Grammar
from multitune.serving.sampling import SamplingOptions, TokenLogprob

FinishReason = Literal["stop", "length", "cancelled", "error"]


class OverloadedError(MultituneError):
    """The queue is full; the same request may be sent again later."""


class AdapterUnavailableError(MultituneError):
    """An adapter went while a request to it waited, or its files are no longer those that it was loaded from."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step adds to an answer."""

    text: str = ""  # certain from now on
    token: TokenLogprob | None = None  # that was chosen; None where a step only reads or ends
    prompt: tuple[TokenLogprob, ...] = ()  # how likely each token of the prompt was, the first one left out
    finish: FinishReason | None = None
    error: str = ""
    refused: bool = False  # the error lies in what was asked
    unavailable: bool = False  # the error lies in the adapter


@dataclass(slots=True)
class EngineStats:
    """An engine at one moment, and what it did so far; None is what it does not know of itself."""

    running: Counter[str] = field(default_factory=Counter[str])  # version of an adapter -> requests
    waiting: Counter[str] = field(default_factory=Counter[str])
    prompt_tokens: int = 0
    generation_tokens: int = 0
    cache_usage: float | None = None  # share of the key-value store that requests hold
    cached_tokens: int | None = None  # of prompts, that were not read again
    steps: int | None = None
    adapter_loads: int | None = None  # adapters that were read from disk


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """One answer to generate; of several to one prompt each is a request."""

    adapter: str  # its name in the bank, or `base`
    prompt: np.ndarray  # int32 (prompt_token,) at least one
    max_tokens: int  # 0 reads the prompt only
    deliver: Callable[[Delta], None]  # called by the engine's thread, which it must not hold up
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    stop: tuple[str, ...] = ()
    prompt_logprobs: int | None = None  # alternatives to report for each token of the prompt
    grammar: Grammar | None = None  # of what the answer must be

    @property
    def tokens(self) -> int:
        """Tokens that it may come to."""
        return len(self.prompt) + self.max_tokens


@dataclass(frozen=True, slots=True)
class EngineJob:
    """Something else for the engine's thread to do with the model between two steps."""

    work: Callable[[], Any]
    future: "Future[Any]"
    adapter: str  # that must lie in memory

    def do(self) -> None:
        """Do it, unless nobody waits for it any more."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work())
        except BaseException as error:
            self.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        """It cannot be done."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)
