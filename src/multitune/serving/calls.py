"""A call of the API that is routed: who answers it, and everything that the answer needs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from multitune.core.records import Message
from multitune.data.tokenizer import ChatFormat
from multitune.inference.predict import LONGEST_ANSWER
from multitune.serving.decisions import Route
from multitune.serving.protocol import ChatRequest, CompletionRequest, Decision
from multitune.tasks.task import Task


@dataclass(slots=True)
class Call:
    """A request of a client, once it is decided who answers."""

    body: ChatRequest | CompletionRequest
    route: Route
    version: str  # of the adapter that answers: `name@digest`, or `base`
    asked: Task | None  # whose shots and stop strings belong to it
    meant: (
        Task | None
    )  # whose labels and usual length belong to it: as `asked`, or the likeliest where the base answers
    chat: ChatFormat
    messages: Sequence[Message]  # of a chat, behind the shots of its task; none of completions
    prompts: list[np.ndarray]  # int32 (prompt_token,) each
    decision: Decision
    id: str  # by which feedback may name it
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def public_id(self) -> str:
        """What its answer is called."""
        return f"{'chatcmpl' if isinstance(self.body, ChatRequest) else 'cmpl'}-{self.id}"

    @property
    def echoes(self) -> bool:
        """Whether the prompt is part of the answer."""
        return isinstance(self.body, CompletionRequest) and self.body.echo

    @property
    def alternatives(self) -> int | None:
        """How many to report for each token; None reports nothing."""
        return self.body.alternatives if isinstance(self.body, ChatRequest) else self.body.logprobs

    @property
    def answers(self) -> int:
        """How many answers it has."""
        return len(self.prompts) * self.body.n

    @property
    def texts(self) -> Sequence[str] | None:
        """Texts of which the answer is one: those that the request lists, or the labels of its task."""
        if self.body.choices:
            return self.body.choices
        return self.meant.labels if self.meant and self.body.multitune.labels else None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer: those of the request, and of its task."""
        return (*self.body.stops, *(self.asked.config.stop if self.asked else ()))

    def max_tokens(self, prompt: np.ndarray, longest: int) -> int:
        """The length that is asked for, or the task's own as far as there is room.

        Args:
            prompt: int32 (prompt_token,).
            longest: most tokens of a prompt and its answer.
        """
        asked = self.body.max_tokens
        if isinstance(self.body, ChatRequest):
            asked = self.body.max_completion_tokens or asked
        if asked is not None:
            return asked
        usual = (self.meant.config.max_new_tokens if self.meant else None) or LONGEST_ANSWER
        return max(1, min(usual, longest - len(prompt)))
