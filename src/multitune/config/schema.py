"""What a run may say, as pydantic models: defaults, ranges, and one line of help per field."""

from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, model_validator

from multitune.config.audit import AuditConfig
from multitune.config.registered import RouterKind, Schedule
from multitune.config.robustness import RobustnessConfig
from multitune.config.source import Fraction, Name, Section
from multitune.config.task import TaskConfig
from multitune.core.errors import suggest
from multitune.core.results.run import StepRule
from multitune.core.results.scores import Budget

Every = Literal["shared", "per_task", "residual"]  # words for the adapters that follow from the tasks alone
ControlTokens = Literal["text", "parse"]
OverlapRule = Literal["drop", "refuse", "allow"]


class MixtureConfig(Section):
    """How the tasks of one adapter are mixed."""

    schedule: Schedule = Field(default="anneal", description="How the share of each task moves along the run.")
    temperature: float = Field(default=2.0, ge=1.0, description="T of `temperature`: share ~ size ** (1 / T).")
    anneal_end: float = Field(default=0.2, ge=0.0, le=1.0, description="Exponent that `anneal` ends with.")
    shares: dict[str, Annotated[float, Field(gt=0.0)]] | None = Field(
        default=None, description="Shares of `fixed`, by task."
    )
    max_repeats: float | None = Field(
        default=4.0, gt=0.0, description="Most passes over a small task; the rest gets its share."
    )
    unit: Literal["examples", "tokens"] = Field(
        default="examples", description="What a share counts: rows or loss tokens."
    )
    share_prefix: Literal["instruction", "document"] = Field(
        default="instruction",
        description="`document` draws the rows of one `group` together, so that a pack shares them.",
    )


class AdapterConfig(Section):
    """One adapter of an explicit list: the tasks it learns and its budget."""

    name: Name = Field(description="Name of the adapter.")
    tasks: tuple[str, ...] = Field(min_length=1, description="Tasks it learns; in a run file, all when absent.")
    general: bool | Fraction = Field(
        default=True,
        description="Whether the general members take part; a number is the share they take together. In a run file "
        "also a list of numbers: an adapter for each, named like NAME.general-5.",
    )
    stack_on: str | None = Field(
        default=None,
        description="Parent adapter: another of this run, or an adapter's folder. It learns what that one lacks.",
    )
    train_parent: bool = Field(
        default=False,
        description="Train side by side with the parent and move it too; else after it, on its best step.",
    )
    rank: int | None = Field(default=None, ge=1, description="Rank; lora.rank when absent.")
    alpha: float | None = Field(default=None, gt=0.0, description="Alpha; scaled like lora.alpha when absent.")
    epochs: float | None = Field(default=None, gt=0.0, description="Passes over its tasks; train.epochs when absent.")
    steps: int | None = Field(default=None, ge=1, description="Optimizer steps; overrides epochs.")
    seed: int | None = Field(default=None, description="Seed of its stream and its start; the run's when absent.")
    schedule: Schedule | None = Field(default=None, description="How its shares move; mixture.schedule when absent.")


class LoraConfig(Section):
    """Shape of the low-rank adapters."""

    rank: int = Field(default=16, ge=1, description="Rank of every adapter.")
    alpha: float = Field(default=32.0, gt=0.0, description="The update is scaled by alpha / rank.")
    targets: Literal["all", "attention"] | tuple[str, ...] = Field(
        default="all", description="Linear layers to adapt: all, attention, or names such as q_proj."
    )


class TrainConfig(Section):
    """Length, optimizer, loss and choice of the best."""

    epochs: float = Field(default=3.0, gt=0.0, description="Passes over the tasks' training rows, on average.")
    max_steps: int | None = Field(default=None, ge=1, description="Optimizer steps; overrides epochs.")
    batch_size: int = Field(default=16, ge=1, description="Examples per optimizer step and adapter.")
    pack_tokens: int = Field(default=2048, ge=16, description="Most tokens in one forward pass; sets the memory.")
    max_length: int = Field(default=2048, ge=8, description="Rows with more tokens are left out and reported.")
    learning_rate: float | None = Field(
        default=None, gt=0.0, description="Peak; 2e-4 for lora, 3e-5 for full when absent."
    )
    weight_decay: float = Field(default=0.01, ge=0.0, description="Decoupled weight decay.")
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0, description="Share of the steps with a rising learning rate.")
    max_grad_norm: float = Field(default=1.0, gt=0.0, description="Each adapter's gradient is clipped to this norm.")
    loss: Literal["example", "token"] = Field(
        default="example", description="What weighs the same in a step: every example, or every answer token."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations: less memory, a third slower."
    )
    alone: Budget = Field(
        default="convergence",
        description="Budget of single-task adapters: the shared one's passes, its steps, or convergence, where every "
        "adapter trains until its own validation stops gaining, with the shared one's steps as the most.",
    )
    validate_every: int | None = Field(
        default=None, ge=1, description="Steps between validations; four in a run (convergence: eight) if absent."
    )
    validate_limit: int = Field(default=100, ge=1, description="Most validation rows per task at each validation.")
    validate_metric: bool = Field(
        default=True, description="Also measure each task's metric at validations, not only loss."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop drawing a task after so many validations without gain; with convergence an adapter ends "
        "after so many, two if absent.",
    )
    keep: StepRule = Field(
        default="significant",
        description="Which step of an adapter is kept: the last unless an earlier one is significantly better on "
        "validation rows, the one with the lowest validation loss, or the last.",
    )
    select_by: Literal["mean", "worst", "weighted"] = Field(
        default="mean",
        description="How several tasks count in the choice of a step: by mean, worst or weighted mean.",
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="Steps between checkpoints; at validations if absent."
    )


class EvaluateConfig(RobustnessConfig):
    """How the final table is made."""

    split: Literal["validation", "test"] = Field(default="test", description="Rows that the table is made from.")
    limit: int | None = Field(default=None, ge=1, description="Most rows per task in the table.")
    select_limit: int = Field(default=200, ge=1, description="Most validation rows per task that choose what ships.")
    resamples: int = Field(default=1000, ge=100, description="Bootstrap resamples of each interval.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="Level of the intervals and verdicts.")
    margin: float = Field(
        default=0.02,
        gt=0.0,
        le=1.0,
        description="A loss of less than this, in the metric's unit, counts as none: where a larger one is ruled out, "
        "a task is no worse.",
    )
    batch_size: int = Field(default=32, ge=1, description="Prompts generated at once.")


class RouterConfig(Section):
    """What picks an adapter by the content of a request."""

    kind: RouterKind = Field(
        default="discriminant",
        description="discriminant: closed form, takes in tasks later; softmax: learned.",
    )
    features: str = Field(
        default="embedding",
        pattern=r"^(embedding|layer:\d+|encoder:.+)$",
        description="What it sees of a text: embedding (the table alone), layer:N, or encoder: and a hub id.",
    )
    outside_cost: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="What it costs, in points of score, that an adapter answers a text of no task, against what a "
        "task's own request loses where the base answers it. 0.1: an answer is worth 1, and one in ten requests is "
        "such a text; 0 rejects nothing.",
    )
    compare: tuple[Literal["uniform", "arrow"], ...] = Field(
        default=(),
        description="Ways to choose without a router, for the report: uniform (the average of all that ships answers "
        "every row once more), arrow (the adapters' main directions; a forward pass per row).",
    )


class RunConfig(Section):
    """A whole run: one base, several tasks, the adapters to train.

    >>> config = multitune.load_config("run.yaml")
    >>> config.mixture.schedule, config.lora.rank
    ('anneal', 2)
    >>> config.model_copy(update={"seed": 18}).seed  # values do not change, copies may differ
    18
    """

    name: Name = Field(default="run", description="Name of the run and of its folder.")
    seed: int = Field(default=17, ge=0, description="All randomness follows from it.")
    seeds: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Trainings of every adapter, each with a seed of its own, side by side. With several, verdicts "
        "hold beyond one run; the first of them ships.",
    )
    base: str = Field(
        default="smollm2-135m", description="Hub id (also as hub:OWNER/NAME), folder, .gguf file or a built-in alias."
    )
    system: str | None = Field(
        default=None, description="System message before every prompt; the template's own if absent."
    )
    control_tokens: ControlTokens = Field(
        default="text",
        description="What a control token such as <|im_end|> is where a row or a request holds it: text, or parsed "
        "into the real one.",
    )
    tasks: tuple[TaskConfig, ...] = Field(min_length=1, description="The tasks to learn.")
    general: tuple[TaskConfig, ...] = Field(
        default=(), description="Replay sets against forgetting, each with a share."
    )
    retention: tuple[TaskConfig, ...] = Field(
        default=(), description="Sets never trained on, answered before and after, such as `{use: mmlu, limit: 200}`."
    )
    mixture: MixtureConfig = Field(default_factory=lambda: MixtureConfig(), description="How tasks are mixed.")
    cross_task_duplicates: OverlapRule = Field(
        default="drop", description="Training rows that another set holds out: dropped, refused or trained on."
    )
    audit: AuditConfig = Field(
        default_factory=lambda: AuditConfig(),
        description="Audit of the data before training: off | warn | strict.",
    )
    method: Literal["lora", "full"] = Field(default="lora", description="Train adapters, or the whole backbone.")
    adapters: Literal["shared", "per_task", "residual", "mixture"] | tuple[Every | AdapterConfig, ...] = Field(
        default="mixture",
        description="shared: one for all tasks; per_task; residual: shared and per task what it lacks; mixture: all; "
        "or a list of these words and of adapters.",
    )
    lora: LoraConfig = Field(default_factory=lambda: LoraConfig(), description="Shape of the adapters.")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig(), description="Length and optimizer.")
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig(), description="The final table.")
    router: RouterConfig = Field(default_factory=lambda: RouterConfig(), description="Choice of the adapter.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="Where to compute.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="Compute type of the backbone.")
    quantization: Literal["nf4", "int8"] | None = Field(
        default=None,
        description="Bits of the frozen base's linear layers: nf4 (4, as QLoRA), int8 (8), or those of dtype.",
    )
    memory: ByteSize | None = Field(
        default=None,
        description="Most memory that training may take, such as 16GiB; as many layers as that asks for are computed "
        "again on the way back.",
    )
    track: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = Field(
        default=(), description="Experiment trackers to write to as well."
    )
    output: str = Field(default="runs", description="Folder that holds the run's folder.")

    @model_validator(mode="before")
    @classmethod
    def _full_has_one_adapter(cls, fields: Any) -> Any:
        # The default `mixture` would keep a whole model per task.
        if isinstance(fields, dict) and fields.get("method") == "full":
            return {"adapters": "shared", **fields}
        return fields

    @model_validator(mode="after")
    def _parts_fit(self) -> "RunConfig":
        # Faults across fields; each message starts with the field it is about, so that load.py can place it.
        raise_first = self._cross_faults()
        if raise_first:
            raise ValueError("\n".join(raise_first))
        return self

    def _cross_faults(self) -> list[str]:
        faults: list[str] = []
        members = [*self.tasks, *self.general]
        seen: set[str] = set()
        for task in members:
            if task.name in seen:
                faults.append(f"tasks: two tasks are named {task.name!r}; give one of them another `name`")
            seen.add(task.name)
        for task in self.retention:
            if task.name in seen:
                faults.append(f"retention: another set is named {task.name!r} too; give one of them another `name`")
            if task.share is not None:
                faults.append(f"retention: {task.name!r} has a `share`, but is never trained on; remove the share")
            seen.add(task.name)
        faults += [f"general: {t.name!r} needs a `share`, such as 0.1" for t in self.general if t.share is None]
        if sum(t.share or 0.0 for t in members) >= 1.0:
            faults.append("general: the fixed shares add up to 1 or more; nothing is left for the tasks")
        faults += self._training_faults()
        if self.train.pack_tokens < self.train.max_length:
            faults.append(
                f"train.pack_tokens is {self.train.pack_tokens}, below train.max_length {self.train.max_length}: "
                "a row must fit into a pack; raise one or lower the other"
            )
        if self.memory is not None and self.train.gradient_checkpointing:
            faults.append(
                "memory chooses the layers that are computed again, and `train.gradient_checkpointing` takes all of "
                "them; remove one of the two"
            )
        if self.method == "full" and self.quantization:
            faults.append(
                f"quantization is {self.quantization!r}, but `method: full` trains the weights themselves, with "
                "all their bits. Use `method: lora`, or remove `quantization`"
            )
        if self.method == "full" and self.seeds > 1:
            faults.append(
                f"seeds is {self.seeds}, but with `method: full` each would be a whole model in memory. Train one run "
                "per `seed`, or use `method: lora`"
            )
        if self.method == "full" and not self._has_one_adapter():
            value = repr(self.adapters) if isinstance(self.adapters, str) else f"a list of {len(self.adapters)}"
            faults.append(
                f"adapters is {value}, but with `method: full` each would be a whole model. "
                "Use `shared` or a list of one adapter, or `method: lora`"
            )
        return faults + (self._share_faults() if self.mixture.schedule == "fixed" else [])

    def _training_faults(self) -> list[str]:
        """What is wrong with the settings of a set that only training reads."""
        faults = [
            f"retention: {task.name!r} has `{name}`, but is never trained on; remove it"
            for task in self.retention
            for name in ("prompt_variants", "passes", "learning_rate_factor")
            if getattr(task, name) != TaskConfig.model_fields[name].default
        ]
        faults += [
            f"general: {task.name!r} has a `learning_rate_factor`, but no adapter learns it alone; remove it"
            for task in self.general
            if task.learning_rate_factor != 1.0
        ]
        most = self.mixture.max_repeats
        for index, task in enumerate(self.tasks):
            if task.passes is not None and most is not None and task.passes > most:
                faults.append(
                    f"tasks[{index}].passes is {task.passes:g}, above mixture.max_repeats {most:g}; raise that, or "
                    "lower this"
                )
            if task.passes is not None and self.mixture.unit == "tokens":
                faults.append(f"tasks[{index}].passes counts rows, and mixture.unit is tokens. Give it a `share`")
        return faults

    def _has_one_adapter(self) -> bool:
        if isinstance(self.adapters, str):
            return self.adapters == "shared"
        first = self.adapters[0] if len(self.adapters) == 1 else None
        return first == "shared" or (isinstance(first, AdapterConfig) and first.stack_on is None)

    def _share_faults(self) -> list[str]:
        """What keeps `mixture.shares` from naming just the tasks that have no share of their own."""
        free = [task.name for task in (*self.tasks, *self.general) if task.share is None]
        shares = self.mixture.shares or {}
        faults = [
            f"mixture.shares: {name!r} is not a task without a `share` of its own. {suggest(name, free)}"
            for name in shares
            if name not in free
        ]
        missing = [name for name in free if name not in shares]
        if missing:
            faults.append(f"mixture.shares: `schedule: fixed` needs a share for {', '.join(missing)}")
        return faults
