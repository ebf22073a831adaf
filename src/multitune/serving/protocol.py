"""Bodies of the OpenAI API as far as they are served: what a request may say, and what is answered."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from multitune.core.results.base import Record
from multitune.serving.decisions import LabelProbability, Route
from multitune.serving.grammars import Constraint, ConstraintKind

MOST_CHOICES, MOST_ANSWERS, MOST_ALTERNATIVES, MOST_STOPS = 1024, 16, 20, 16
MOST_CHARACTERS = 131_072  # of a schema, a regular expression or a grammar
ANY_OBJECT = {"type": "object"}
Count = Annotated[int, Field(ge=1)]
Schema = dict[str, Any] | str  # of JSON, or as a text of it


class Body(BaseModel):
    """A request; fields that change nothing here, such as `user`, are let pass."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class TextPart(Body):
    """A part of a message's content; the model reads text alone."""

    type: Literal["text"]
    text: str


class ChatMessage(Body):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """Its content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def plain(self) -> dict[str, str]:
        """As chat templates read it."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.text}


class StructuredOutputs(Body):
    """What an answer must be: one of some texts, JSON, or a text of a regular expression or a grammar."""

    model_config = ConfigDict(extra="forbid")
    choice: list[str] | None = Field(None, min_length=1, max_length=MOST_CHOICES)
    schema_: Schema | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: str | None = None
    grammar: str | None = None


NOTHING_ASKED = StructuredOutputs.model_validate({})


class StreamOptions(Body):
    """What a stream holds beside the answer."""

    include_usage: bool = False


class NamedSchema(Body):
    """A JSON schema; every answer keeps to it, `strict` or not."""

    name: str = ""
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body):
    """The form of an answer: free text, a JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema: goes with type json_schema, and that with it")
        return self


class Extension(Body):
    """What multitune answers beyond the OpenAI API."""

    model_config = ConfigDict(extra="forbid")
    labels: bool = False  # the probability of each label of the task, with the likeliest as the answer


def _text(value: Schema, field: str) -> str:
    """A schema, or what else an answer must be, as one text that is not too long.

    Raises:
        ValueError: it is.
    """
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except RecursionError as error:
        raise ValueError(f"{field}: is nested too deeply") from error
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{field}: has {len(text):,} characters, and at most {MOST_CHARACTERS:,} are taken")
    return text


class Generation(Body):
    """What chat completions and completions have in common. Without a temperature answers are greedy."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_choice: Annotated[list[str], Field(min_length=1, max_length=MOST_CHOICES)] | None = None
    guided_json: Schema | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None
    response_format: ResponseFormat | None = None
    multitune: Extension = Extension()
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logit_bias: dict[str, float] | None = Field(None, max_length=0)

    @model_validator(mode="before")
    @classmethod
    def _nulls(cls, value: Any) -> Any:
        """A field that is null is as good as absent."""
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _whole(self) -> "Generation":
        if len(self.stops) > MOST_STOPS or not all(self.stops):
            raise ValueError(f"stop: at most {MOST_STOPS} texts, none of them empty")
        if self.choices and len(set(self.choices)) < len(self.choices):
            raise ValueError("choice: a text stands there twice")
        if (self.choices or self.multitune.labels) and self.n > 1:
            raise ValueError("n: the likeliest of some texts is one answer; leave n out")
        named = [one.field for one in self._constraints()]
        named += ["multitune.labels"] * self.multitune.labels + ["choice"] * bool(self.choices)
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)}: an answer can be held to one of them")
        return self

    @property
    def constraint(self) -> Constraint | None:
        """What the answer must be, if it is no choice."""
        return next(iter(self._constraints()), None)

    def _constraints(self) -> list[Constraint]:
        outputs, form = self.structured_outputs or NOTHING_ASKED, self.response_format
        schema = form.json_schema.schema_ if form and form.json_schema else None
        given: list[tuple[str, ConstraintKind, Schema | None]] = [
            ("response_format", "json", ANY_OBJECT if form and form.type == "json_object" else schema),
            ("structured_outputs.json_object", "json", ANY_OBJECT if outputs.json_object else None),
            ("structured_outputs.json", "json", outputs.schema_),
            ("structured_outputs.regex", "regex", outputs.regex),
            ("structured_outputs.grammar", "grammar", outputs.grammar),
            ("guided_json", "json", self.guided_json),
            ("guided_regex", "regex", self.guided_regex),
            ("guided_grammar", "grammar", self.guided_grammar),
        ]
        return [Constraint(kind, _text(value, field), field) for field, kind, value in given if value is not None]

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def choices(self) -> list[str] | None:
        """Texts of which the answer is one."""
        return (self.structured_outputs.choice if self.structured_outputs else None) or self.guided_choice

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(Generation):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    tools: list[Any] | None = Field(None, max_length=0)

    @property
    def alternatives(self) -> int | None:
        """How many to report for each token; None reports nothing."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(Generation):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None
    best_of: Literal[1] | None = None

    @model_validator(mode="after")
    def _no_echo_in_streams(self) -> "CompletionRequest":
        if self.echo and (self.stream or self.choices or self.multitune.labels):
            raise ValueError("echo: is for whole answers in free text; leave it or stream and choices out")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """Its prompts, each a text or tokens."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [one for one in self.prompt if not isinstance(one, int)]


class TokenizeRequest(Body):
    """POST /tokenize: a prompt, or a conversation as the base reads it."""

    model: str = "base"
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    add_special_tokens: bool = True


class DetokenizeRequest(Body):
    """POST /detokenize."""

    tokens: list[int]


class LoadAdapter(Body):
    """POST /v1/load_lora_adapter."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadAdapter(Body):
    """POST /v1/unload_lora_adapter."""

    lora_name: str


class Usage(Record):
    """Tokens of a request; those that were cached are among the prompt's."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Decision(Record):
    """The field `multitune` of an answer: who answered and why, and the labels that were asked for."""

    task: str | None
    adapter: str
    probability: float | None
    reason: str
    labels: tuple[LabelProbability, ...] | None = None

    @classmethod
    def of(cls, route: Route, labels: tuple[LabelProbability, ...] | None = None) -> "Decision":
        """A route, with labels if there are any."""
        return cls(**route.plain(), labels=labels)


class ErrorDetail(Record):
    """What went wrong, as OpenAI words it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Record):
    """Every answer that is no success."""

    error: ErrorDetail
