"""robustness.json: scores by group of rows, swapped terms, perturbed rows, suites of social bias, and secrets."""

from typing import Literal

from pydantic import Field

from multitune.core.results.base import Document, Record
from multitune.core.results.scores import Difference

Side = Literal["higher", "lower", "cannot tell"]
SIDES: dict[int, Side] = {1: "higher", -1: "lower", 0: "cannot tell"}


class Tested(Difference):
    """A difference with its p and what follows: higher or lower where interval and adjusted p say so."""

    p: float
    p_holm: float  # adjusted for the tests of its table
    verdict: Side


class SliceGroup(Record):
    """The rows of a task that have one value in a column."""

    value: str
    rows: int
    score: float
    low: float
    high: float
    base: float  # the base's score on them
    gap: Tested  # score − the score on all other rows
    change: Tested | None = None  # gap − the base's gap; None where the base itself is measured


class TaskSlices(Record):
    """One task by the values of a column."""

    task: str
    adapter: str
    metric: str
    seeds: int  # trainings of the adapter; scores are means over them
    rows: int
    groups: tuple[SliceGroup, ...]  # by size
    folded: dict[str, int] = Field(default_factory=dict[str, int])  # value -> rows, of those without a group


class Slices(Record):
    """A column: every task whose rows have it, and why others are left out."""

    column: str
    tasks: tuple[TaskSlices, ...]
    left_out: dict[str, str] = Field(default_factory=dict[str, str])  # task -> why


class Rate(Record):
    """A share of rows, with its 95% interval of Wilson."""

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.count / self.of


class FlipExample(Record):
    """A row whose answer changed."""

    id: str
    asked: str  # with the terms swapped, shortened
    before: str
    after: str


class TaskFlips(Record):
    """A task's rows with the terms of one pair swapped."""

    task: str
    adapter: str
    pair: str  # such as `women and men`
    rate: Rate  # rows whose answer changed
    base: Rate
    p: float  # exact McNemar, flips of the adapter against those of the base on the same rows
    p_holm: float
    verdict: Side  # of the adapter's rate against the base's
    # Rows that name one side alone: likelihood of the right answer where it is the first, less where it is the second.
    likelihood: Difference | None = None  # nats per answer token
    examples: tuple[FlipExample, ...] = ()


class Flips(Record):
    """Counterfactual flips of every task, and why others are left out."""

    tasks: tuple[TaskFlips, ...]
    left_out: dict[str, str] = Field(default_factory=dict[str, str])  # task, or task and pair -> why


class TaskPerturbed(Tested):
    """A task's rows under one perturbation: the score on them − that on the same rows as they are."""

    task: str
    adapter: str
    perturbation: str
    metric: str
    rows: int  # that it changes
    clean: float
    perturbed: float


class Perturbed(Record):
    """Scores on perturbed rows, and why tasks or perturbations are left out."""

    tasks: tuple[TaskPerturbed, ...]
    left_out: dict[str, str] = Field(default_factory=dict[str, str])  # task, or task and perturbation -> why


class BiasChange(Tested):
    """A score on a suite of social bias: that of the adapter − that of the base, on the same items."""

    suite: str
    measure: str
    neutral: float | None  # where a model without the bias stands; None: more is better
    adapter: str
    category: str = ""  # all items where empty
    items: int
    clusters: int  # templates or scenes that items come from; these are resampled
    base: float
    score: float

    @property
    def worse(self) -> int:
        """1 where the score is farther from neutral than the base's, or less right; -1 where nearer, or more right."""
        if self.neutral is None:
            return (self.score < self.base) - (self.score > self.base)
        ours, base = abs(self.score - self.neutral), abs(self.base - self.neutral)
        return (ours > base) - (ours < base)


class Bias(Record):
    """Suites of social bias, and why something is left out."""

    changes: tuple[BiasChange, ...]
    left_out: dict[str, str] = Field(default_factory=dict[str, str])  # suite -> why


class Secret(Record):
    """A value of an answer, without the value."""

    row: str
    kind: str  # such as `card`
    rows: int  # whose answers hold it
    base: float  # exposure under the base, in bits
    exposure: float


class TaskSecrets(Record):
    """The secrets of a task's answers, each ranked among random ones of its form; means over them."""

    task: str
    adapter: str
    rows: Literal["train", "held out"]  # of the latter none stands in a training answer
    kinds: dict[str, int]  # kind -> secrets
    of: int  # how many each is ranked among, itself included
    base: float  # exposure: log2(of) − log2(rank), in bits
    exposure: float
    completed: int  # first by likelihood, and not so under the base
    p: float  # that they gained no more likelihood against the base than the random ones
    p_holm: float
    learned: bool
    examples: tuple[Secret, ...] = ()  # of those completed


class Secrets(Record):
    """Exposure of secrets by task, and why others are left out."""

    tasks: tuple[TaskSecrets, ...]
    left_out: dict[str, str] = Field(default_factory=dict[str, str])  # task -> why


class Robustness(Document):
    """How evenly and how steadily what ships answers; a part that was not asked for is empty or None."""

    REMEDY = "multitune measure RUN --slices COLUMN --flips --perturb --bias SUITE --secrets"

    split: str
    confidence: float = Field(gt=0.0, lt=1.0)
    rows: dict[str, int]  # task -> rows that were answered
    slices: tuple[Slices, ...] = ()
    flips: Flips | None = None
    perturbed: Perturbed | None = None
    bias: Bias | None = None
    secrets: Secrets | None = None

    def updated(self, new: "Robustness") -> "Robustness":
        """These results with what was measured anew in their place; other rows or another level replace all."""
        if (self.split, self.confidence, self.rows) != (new.split, new.confidence, new.rows):
            return new
        columns = {one.column: one for one in (*self.slices, *new.slices)}
        return new.model_copy(
            update={
                "slices": tuple(columns.values()),
                "flips": new.flips or self.flips,
                "perturbed": new.perturbed or self.perturbed,
                "bias": new.bias or self.bias,
                "secrets": new.secrets or self.secrets,
            }
        )
