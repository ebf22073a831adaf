"""Answers of the OpenAI API, as its clients read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from multitune.core.results.base import Record
from multitune.serving.protocol import Decision, Usage
from multitune.serving.requests import Delta, FinishReason
from multitune.serving.sampling import TokenLogprob
from multitune.serving.token_text import TokenText


class ModelCard(Record):
    """One name in the list of models."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "multitune"
    root: str
    parent: str | None
    max_model_len: int


class ModelList(Record):
    """GET /v1/models."""

    object: str = "list"
    data: tuple[ModelCard, ...]


class TopLogprob(Record):
    """A token and how likely it was."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class ChatTokenLogprob(TopLogprob):
    """A token of a chat's answer, with the likeliest in its place."""

    top_logprobs: tuple[TopLogprob, ...]


class ChatLogprobs(Record):
    """The tokens of a chat's answer."""

    content: tuple[ChatTokenLogprob, ...]


class CompletionLogprobs(Record):
    """The tokens of a completion, with the prompt's where it is echoed."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    top_logprobs: tuple[dict[str, float] | None, ...]
    text_offset: tuple[int, ...]


class AnswerMessage(Record):
    """What the assistant says."""

    role: str | None = "assistant"
    content: str | None = None


class Choice(Record):
    """One answer: `message` in a chat, `delta` in its stream, `text` in a completion."""

    index: int
    message: AnswerMessage | None = None
    delta: AnswerMessage | None = None
    text: str | None = None
    logprobs: ChatLogprobs | CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None

    def plain(self) -> dict[str, Any]:
        """Without the forms that it has not; a stream's delta names only what is new."""
        absent = {name for name in ("message", "delta", "text") if getattr(self, name) is None}
        found = self.model_dump(mode="json", exclude=absent)
        if self.delta is not None:
            found["delta"] = self.delta.model_dump(exclude_none=True)
        return found


class Completion(Record):
    """A whole answer, or one message of a stream."""

    id: str
    object: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    multitune: Decision

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        found = self.model_dump(mode="json", exclude={"choices"})
        return {**found, "choices": [choice.plain() for choice in self.choices]}


class ParityRow(Record):
    """One adapter on some stored rows of one task, as it is served against the run's record."""

    adapter: str
    version: str  # of it, that was checked
    task: str
    rows: int
    difference: float  # largest between a mean negative log-likelihood and its record, in nats
    fault: str = ""  # empty if they agree


class Readiness(Record):
    """GET /ready: whether every adapter that was checked answers as the run's record says."""

    ready: bool
    faults: dict[str, str]  # adapter -> what is wrong
    parity: tuple[ParityRow, ...]


class TokenizeAnswer(Record):
    """POST /tokenize."""

    count: int
    max_model_len: int
    tokens: tuple[int, ...]


class DetokenizeAnswer(Record):
    """POST /detokenize."""

    prompt: str


class TokenizerInfo(Record):
    """GET /tokenizer_info, as lm-evaluation-harness asks for it."""

    tokenizer_class: str
    vocab_size: int
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None


@dataclass(slots=True)
class Collected:
    """One answer, as far as it came."""

    text: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    prompt: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    generated: int = 0  # tokens
    finish: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        """Take what a step brought."""
        self.text += delta.text
        self.prompt += delta.prompt
        self.finish = delta.finish
        if delta.token is not None:
            self.tokens.append(delta.token)
            self.generated += 1


def chat_logprobs(tokenizer: Any, tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    """Tokens with their texts."""

    def written(token: int, logprob: float) -> TopLogprob:
        one = TokenText.of(tokenizer, token)
        return TopLogprob(token=one.text, logprob=logprob, bytes=tuple(one.bytes))

    found: list[ChatTokenLogprob] = []
    for one in tokens:
        top = tuple(written(*pair) for pair in one.top)
        found.append(ChatTokenLogprob(**written(one.token, one.logprob).model_dump(), top_logprobs=top))
    return ChatLogprobs(content=tuple(found))


def completion_logprobs(
    tokenizer: Any, tokens: Sequence[TokenLogprob], first: int | None = None
) -> CompletionLogprobs:
    """Tokens with their texts; before them the first of a prompt, of which nothing is known, if it is given."""
    found = [TokenText.of(tokenizer, one.token) for one in tokens]
    values: list[float | None] = [one.logprob for one in tokens]
    tops: list[dict[str, float] | None] = []
    for one, chosen in zip(tokens, found, strict=True):
        others = {TokenText.of(tokenizer, token).name: value for token, value in reversed(one.top)}
        tops.append(others | {chosen.name: one.logprob})  # of tokens with one name the likeliest stays
    if first is not None:
        found, values, tops = [TokenText.of(tokenizer, first), *found], [None, *values], [None, *tops]
    ends = list(accumulate(len(one.text) for one in found))
    return CompletionLogprobs(
        tokens=tuple(one.name for one in found),
        token_logprobs=tuple(values),
        top_logprobs=tuple(tops),
        text_offset=(0, *ends[:-1]) if ends else (),
    )
