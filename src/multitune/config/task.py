"""What a run file says of one task: its rows, how a row reads, and how answers are scored."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from multitune.config.source import LimitConfig, Name, Section, SourceConfig, SplitConfig
from multitune.core.errors import TaskError

Kind = Literal["classify", "choice", "generate", "labels", "number", "regress", "tag", "text"]
Turns = Literal["every", "last"]
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
    answer: str = Field(
        default="", description="Jinja over the row's columns: what the model should say; by the columns if absent."
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
    weight: float = Field(default=1.0, gt=0.0, description="Weight of the task when a mean over tasks chooses.")
    tolerance: float = Field(default=0.01, ge=0.0, description="Relative tolerance of numeric_match.")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="Longest generated answer; twice the longest seen."
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

    @model_validator(mode="after")
    def _parts_fit(self) -> "TaskConfig":
        if self.messages and (self.prompt or self.answer):
            raise ValueError("`messages` stands in place of `prompt` and `answer`. Remove either it or these")
        if self.messages and self.kind in ("choice", "labels", "tag", "text"):
            raise ValueError(f"`messages` is for conversations, not for kind {self.kind}. Write `prompt` and `answer`")
        if self.tools and not self.messages:
            raise ValueError("`tools` needs `messages`, the column with the conversation that may call them")
        if self.options and self.kind not in ("choice", None):
            raise ValueError(f"`options` is for kind choice, not {self.kind}. Remove it, or write `kind: choice`")
        if self.kind == "text" and self.prompt:
            raise ValueError("`kind: text` learns all of `answer` and has no `prompt`. Remove it, or use generate")
        return self
