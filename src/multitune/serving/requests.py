"""What the engine is asked, and what it delivers token by token."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from multitune.core.errors import MultituneError
from multitune.serving.grammars import Grammar
from multitune.serving.sampling import SamplingOptions, TokenLogprob

FinishReason = Literal["stop", "length", "cancelled", "error"]


class OverloadedError(MultituneError):
    """The queue is full; the same request may be sent again later."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step adds to an answer."""

    text: str = ""  # certain from now on
    token: TokenLogprob | None = None  # that was chosen; None where a step only reads or ends
    prompt: tuple[TokenLogprob, ...] = ()  # how likely each token of the prompt was, the first one left out
    finish: FinishReason | None = None
    error: str = ""
    refused: bool = False  # the error lies in what was asked


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
