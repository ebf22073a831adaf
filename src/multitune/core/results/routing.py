"""Routing versions: what each task ships with and why, what the router is worth, and what a change of tasks did."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from multitune.core.bases import BASE
from multitune.core.results.base import Document, Record, renamed
from multitune.core.results.scores import Difference

Role = Literal["base", "shared", "group", "residual", "alone"]
View = Literal["prompt", "body"]  # the whole prompt, or what a task's prompts do not share


class Standing(Difference):
    """How a candidate did on a task's validation rows; `difference` is to the shared adapter, or to the base."""

    score: float
    standard_error: float  # of the difference


class RoutingChoice(Record):
    """What one task ships with."""

    adapter: str
    path: str  # the adapter's folder in the run; empty for the base
    metric: str
    examples: int  # validation rows
    why: str
    standings: dict[str, Standing] = Field(default_factory=dict[str, Standing])  # candidate -> standing


class DeploymentCost(Record):
    """One backbone with the adapters that ship, against a whole model per task; in parameters."""

    base: int = 0
    adapters: int = 0
    together: int
    separate: int
    ratio: float
    shipped: tuple[str, ...]
    droppable: tuple[str, ...]


class RoutingTable(Document):
    """table.json: from task to adapter."""

    REMEDY = "multitune select RUN"

    tasks: dict[str, RoutingChoice]
    cost: DeploymentCost

    @property
    def adapters(self) -> dict[str, str]:
        """Task -> adapter."""
        return {task: choice.adapter for task, choice in self.tasks.items()}


class RouterQuality(Record):
    """A router on held-out rows of its tasks, seen in one view; all but the confusion are shares or errors of one."""

    accuracy: float  # of the likeliest task
    same_adapter: float  # share whose likeliest task has the right adapter
    abstained: float  # share that went to the base, as out-of-distribution
    unsure: float = 0.0  # share that went to the shared adapter, as it may be of several tasks
    calibration_error: float  # expected; of the likeliest task's probability (Naeini et al. 2015)
    confusion: list[list[int]] = Field(default_factory=list[list[int]])  # true task by likeliest task


class OutOfDistribution(Record):
    """A router on texts of no task."""

    auroc: float  # of familiarity, the tasks' own rows against these
    routed: float  # share that went to an adapter all the same


class Rejections(Record):
    """Rows of a task that did not go to the likeliest adapter, seen in one view, and the score that this cost."""

    rejected: float  # share that went to the base, as out-of-distribution
    rejected_cost: float  # score of `oracle` less what it is with these rows answered by the base
    unsure: float  # share that went to the shared adapter
    unsure_cost: float  # likewise, with these rows answered by the shared adapter


class RoutedTask(Record):
    """One task's scores under the router; differences are to `oracle`, the table's adapter."""

    metric: str
    examples: int
    scores: dict[str, float]  # subject, `oracle`, `routed` (by the whole prompt) and `routed_body`
    routed: Difference
    routed_body: Difference
    rejections: dict[View, Rejections] = Field(default_factory=dict[View, Rejections])  # none in older reports

    @model_validator(mode="after")
    def _scores_are_whole(self) -> Self:
        missing = {BASE, "oracle", "routed", "routed_body"} - set(self.scores)
        if missing:
            raise ValueError(f"no score of {', '.join(sorted(missing))}")
        return self


class UniformBaseline(Record):
    """One average of all adapters that ship, for every text."""

    adapters: tuple[str, ...]
    scores: dict[str, float]  # task -> score


class ArrowBaseline(Record):
    """Arrow (Ostapenko et al. 2024, arXiv:2405.11157): the adapters themselves say which texts they are for."""

    adapters: tuple[str, ...]
    examples: int
    accuracy: float  # share of rows that get the adapter their task ships with
    chosen: dict[str, dict[str, float]] = Field(
        default_factory=dict[str, dict[str, float]]
    )  # right -> chosen -> share


class RouterBaselines(Record):
    """Ways to choose without a router; `compared` says which were asked for. None: fewer than two adapters ship."""

    compared: tuple[str, ...] = ()
    uniform: UniformBaseline | None = None
    arrow: ArrowBaseline | None = None


class RouterReport(Document):
    """What a router is worth on the rows of the final table."""

    REMEDY = "multitune select RUN"
    schema_version: int = 2

    router: str  # kind of classifier
    features: str  # key of its features
    rows: str  # split
    views: dict[View, RouterQuality]
    kinds: dict[str, float]  # kind of classifier -> accuracy on bodies
    general: dict[str, OutOfDistribution] = Field(default_factory=dict[str, OutOfDistribution])
    left_out: dict[str, OutOfDistribution] = Field(default_factory=dict[str, OutOfDistribution])  # by task
    tasks: dict[str, RoutedTask]
    baselines: RouterBaselines = RouterBaselines()

    @model_validator(mode="after")
    def _baselines_cover_the_tasks(self) -> Self:
        uniform = self.baselines.uniform
        missing = set(self.tasks) - set(uniform.scores) if uniform else None
        if missing:
            raise ValueError(f"baselines.uniform: no score of {', '.join(sorted(missing))}")
        return self

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Version 2 says `abstained` and `baselines` where older ones said `turned_away` and `rivals`."""
        if version != 1:
            return value
        rivals = value.pop("rivals", None) or {}
        views = {name: renamed(view, {"turned_away": "abstained"}) for name, view in value["views"].items()}
        return {**value, "views": views, "baselines": {**rivals, "compared": list(rivals)}}


class TaskChange(Document):
    """What adding or removing a task did to those that were there before."""

    REMEDY = "multitune select RUN"
    schema_version: int = 2

    added: str | None
    removed: str | None
    version: str  # of the routing
    files: int  # that were there before
    files_changed: tuple[str, ...]
    logits_changed: tuple[str, ...]  # tasks of which a logit of their adapter differs in a bit
    routes_changed: dict[str, float]  # task -> share of its validation rows that now go elsewhere
    scores: dict[str, dict[Literal["before", "after"], float]]  # task -> on validation rows, under the router
    accuracy: dict[View, float]  # share of held-out rows with the right task, afterwards
    choice: RoutingChoice | None = None  # the new task's
    views: dict[View, RouterQuality] = Field(default_factory=dict[View, RouterQuality])  # on the router's own rows

    @classmethod
    def upgrade(cls, version: int, value: dict[str, Any]) -> dict[str, Any]:
        """Version 2 is flat: older ones kept `change` and `views` side by side."""
        if version != 1 or "change" not in value:
            return value
        views = {name: renamed(view, {"turned_away": "abstained"}) for name, view in value["views"].items()}
        return {**value["change"], "choice": value["change"].get("choice") or None, "views": views}


class RoutingVersion(Document):
    """The routing version in force: what `multitune select --json` prints."""

    version: str
    table: RoutingTable
    report: RouterReport | None = None  # None where the version came from adding or removing a task
    change: TaskChange | None = None  # what that did
