"""What a run file says of one task: its rows, how a row reads, and how answers are scored."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, field_validator, model_validator

from multitune.config.source import LimitConfig, Name, Section, SourceConfig, SplitConfig
from multitune.core.errors import TaskError

Kind = Literal["classify", "choice", "generate", "labels", "number", "regress", "tag", "text"]
Turns = Literal["every", "last"]
Shots = Annotated[int, Field(ge=0)] | tuple[dict[str, Any], ...]
MOST_STOPS = 4  # that the API of OpenAI takes
GENERATED = ("generate", "labels", "number", "regress", "tag")  # kinds whose answers are written token by token
READING = ("kind", "prompt", "answer", "messages", "turns", "tools", "options", "labels")  # fields on how rows read


class TaskConfig(Section):
    """One task: its rows, its prompt, its answer, its metric. What is absent of these follows from the columns."""

    name: Name = Field(description="Name of the task; with `use` the template's name is the default.")
    use: str | None = Field(
        default=None, description="A template of tasks/library, whose fields this task may override."
    )
    data: SourceConfig = Field(description="Where the rows come from.")
    kind: Kind | None = Field(
        default=None, description=f"{' | '.join(get_args(Kind))}; by the columns of the rows if absent."
    )
    prompt: str = Field(
        default="", description="Jinja over the row's columns: what the model reads; by the columns if absent."
    )
    prompt_variants: tuple[str, ...] = Field(
        default=(),
        description="The prompt in other words: each training row is asked by `prompt` or one of these, drawn by its "
        "text and the seed; all other rows, serving and routing by `prompt`.",
    )
    answer: str = Field(
        default="", description="Jinja over the row's columns: what the model should say; by the columns if absent."
    )
    shots: Shots = Field(
        default=0,
        description="Worked examples in front of every row, in training, evaluation and serving: how many to draw "
        "from training rows, which are then trained on no more, or the rows themselves, each with its columns.",
    )
    messages: str | None = Field(
        default=None,
        description="In place of prompt and answer: the row's conversation, as a column or a Jinja expression.",
    )
    turns: Turns = Field(
        default="every",
        description="Which assistant turns of a conversation are learned and scored, each behind all before it.",
    )
    tools: str | None = Field(
        default=None, description="The tools that a conversation may call, as a column or a Jinja expression."
    )
    options: str | None = Field(
        default=None, description="The options of a row of kind choice, as a column or a Jinja expression."
    )
    length_normalized: bool = Field(
        default=False, description="Choose the option with the highest log-likelihood per byte, not in sum."
    )
    metric: str | None = Field(default=None, description="The score that decides; the kind's default when absent.")
    labels: tuple[str, ...] | None = Field(
        default=None, description="Label set of kind classify or labels; read off train if absent."
    )
    group: str | None = Field(
        default=None, description="Column naming a row's document; rows of one stay in one split."
    )
    id: str | None = Field(default=None, description="Column naming the row; its content hash when absent.")
    split: SplitConfig = Field(default_factory=lambda: SplitConfig(), description="Held-out shares.")
    limit: LimitConfig = Field(default_factory=lambda: LimitConfig(), description="Most rows per split.")
    share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="Fixed share of the mixture."
    )
    passes: float | None = Field(
        default=None,
        gt=0.0,
        description="Passes over its training rows where it is learned together with others, in place of the "
        "adapter's epochs and a share by schedule.",
    )
    learning_rate_factor: float = Field(
        default=1.0, gt=0.0, description="Multiplies the learning rate of adapters that learn this task alone."
    )
    weight: float = Field(default=1.0, gt=0.0, description="Weight of the task when a mean over tasks chooses.")
    tolerance: float = Field(default=0.01, ge=0.0, description="Relative tolerance of numeric_match.")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="Longest generated answer; twice the longest seen."
    )
    stop: tuple[str, ...] = Field(
        default=(),
        description="Strings at which a generated answer ends, without them; nothing of them is learned.",
    )

    @property
    def is_complete(self) -> bool:
        """Whether it says how a row reads, so that no column has to be recognised."""
        asks = bool(self.messages) or (bool(self.answer) and (bool(self.prompt) or self.kind == "text"))
        return self.kind is not None and asks and (self.kind != "choice" or self.options is not None)

    @property
    def known_kind(self) -> Kind:
        """The kind.

        Raises:
            TaskError: it is not stated, and no rows were recognised yet.
        """
        if self.kind is None:
            raise TaskError(f"task {self.name!r}: kind is missing. State one: {', '.join(get_args(Kind))}")
        return self.kind

    @field_validator("prompt", mode="before")
    @classmethod
    def _is_one(cls, given: Any) -> Any:
        if isinstance(given, list | tuple):
            raise ValueError("give one text, that of evaluation and serving. The others are `prompt_variants`")
        return given

    @field_validator("shots", mode="before")
    @classmethod
    def _are_shots(cls, given: Any) -> Any:
        if type(given) is int and given >= 0:
            return given
        rows: Sequence[Any] = cast(Sequence[Any], given) if isinstance(given, list | tuple) else ()
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{given!r:.60} is neither how many to draw, nor a list of rows, each with its columns")
        return rows

    @model_validator(mode="after")
    def _parts_fit(self) -> "TaskConfig":
        if fault := next(self._misfits(), None):
            raise ValueError(fault)
        return self

    def _misfits(self) -> Iterator[str]:
        """Fields that only make sense with others, or without them."""
        if self.messages and (self.prompt or self.answer):
            yield "`messages` stands in place of `prompt` and `answer`. Remove either it or these"
        if self.messages and self.kind in ("choice", "labels", "tag", "text"):
            yield f"`messages` is for conversations, not for kind {self.kind}. Write `prompt` and `answer`"
        if self.tools and not self.messages:
            yield "`tools` needs `messages`, the column with the conversation that may call them"
        if self.options and self.kind not in ("choice", None):
            yield f"`options` is for kind choice, not {self.kind}. Remove it, or write `kind: choice`"
        if self.kind == "text" and self.prompt:
            yield "`kind: text` learns all of `answer` and has no `prompt`. Remove it, or use generate"
        if self.prompt_variants and not self.prompt:
            yield "`prompt_variants` say `prompt` in other words. Write `prompt` too, or remove them"
        if len({self.prompt, *self.prompt_variants}) < 1 + len(self.prompt_variants):
            yield "`prompt_variants`: one stands there twice, or is `prompt` itself. Remove it"
        if self.shots and (self.messages or self.kind == "text"):
            reads = "a conversation brings its own turns" if self.messages else "a plain text is asked nothing"
            yield f"`shots` stand in front of a `prompt`, and {reads}. Remove them"
        if self.stop and self.kind not in (*GENERATED, None):
            yield f"`stop` ends answers that are generated; those of kind {self.kind} are scored or picked. Remove it"
        if len(self.stop) > MOST_STOPS or not all(self.stop):
            yield f"`stop` takes up to {MOST_STOPS} strings, none of them empty. Take some out"
        if self.passes is not None and self.share is not None:
            yield "`passes` and `share` both say how often its rows are drawn. Remove one of them"
