"""A run folder, read as its typed parts; what is missing, damaged or of a newer version is noted, and never fatal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.errors import InputError, RunFolderError
from multitune.core.events import read_events
from multitune.core.results.audit import Audit
from multitune.core.results.base import Document
from multitune.core.results.comparison import ModelComparison
from multitune.core.results.events import DamagedEvent, Event
from multitune.core.results.robustness import Robustness
from multitune.core.results.routing import RouterReport, RoutingTable, RoutingVersion, TaskChange
from multitune.core.results.run import DataRecord, Selection, Versions
from multitune.core.results.scores import Scores, TransferRow, TransferTable
from multitune.core.routing_versions import read_about
from multitune.core.run_folder import ROUTING_REPORT, ROUTING_TABLE, RunFolder
from multitune.reporting.run_scores import with_joined

Read = TypeVar("Read")
D = TypeVar("D", bound=Document)


@dataclass(slots=True)
class RunFacts:
    """What a run folder says of itself; a part that could not be read is None or empty, and named in `missing`."""

    folder: RunFolder
    config: RunConfig | None = None
    scores: Scores | None = None  # with those of tasks that joined later
    selection: Selection | None = None
    versions: Versions | None = None
    data: DataRecord | None = None
    audit: Audit | None = None  # also None where none was made
    robustness: Robustness | None = None  # also None where none was asked for
    routing: RoutingVersion | None = None  # the last one
    events: list[Event] = field(default_factory=list[Event])
    comparisons: list[ModelComparison] = field(default_factory=list[ModelComparison])
    evaluations: dict[str, Scores] = field(default_factory=dict[str, Scores])  # other evaluations, by name
    missing: list[str] = field(default_factory=list[str])

    @property
    def name(self) -> str:
        """The run's name; its folder's where the config cannot be read."""
        return self.config.name if self.config else self.folder.path.resolve().name

    @property
    def tasks(self) -> list[str]:
        """Tasks that were scored, or else those of the config."""
        if self.scores:
            return list(self.scores.tasks)
        return [task.name for task in self.config.tasks] if self.config else []

    @property
    def split(self) -> str:
        """The rows that scores are of."""
        return self.scores.split if self.scores else "test"

    @property
    def transfer(self) -> dict[str, TransferTable]:
        """Adapter -> its table against the ones trained alone."""
        return self.scores.transfer if self.scores else {}

    @property
    def main(self) -> str:
        """The adapter that the page is about: of those compared, the first that learned most tasks; may be empty."""
        return max(self.transfer, key=lambda name: len(self.transfer[name].tasks), default="")

    def rows(self, adapter: str = "") -> list[tuple[str, TransferRow]]:
        """(adapter, row) of an adapter's transfer table.

        Where none is named, those of the main adapter; and of all adapters where each learned one task.
        """
        whose = [adapter or self.main]
        if not adapter and self.main and len(self.transfer[self.main].tasks) == 1:
            whose = list(self.transfer)
        return [(name, row) for name in whose if name in self.transfer for row in self.transfer[name].tasks]

    @property
    def written(self) -> datetime | None:
        """When the last of its parts was written, in local time."""
        parts = (self.folder.scores, self.folder.events, self.folder.config)
        times = [path.stat().st_mtime for path in parts if path.is_file()]
        return datetime.fromtimestamp(max(times)).astimezone() if times else None


def read_run(path: Path) -> RunFacts:
    """Everything but the predictions, which are read task by task.

    Raises:
        RunFolderError: there is no run in this folder.
    """
    facts = RunFacts(RunFolder(path))
    folder, missing = facts.folder.require(), facts.missing
    facts.config = _config(folder, missing)
    facts.versions = part(Versions, folder.versions, path, missing, "what the run was made with is not known")
    facts.data = part(DataRecord, folder.data, path, missing, "row counts and hashes are not known")
    if folder.audit.exists():
        facts.audit = part(Audit, folder.audit, path, missing, "what the audit before training found is not known")
    unselected = "which checkpoints were chosen is not known; training may not have ended"
    facts.selection = part(Selection, folder.selection, path, missing, unselected)
    unscored = f"nothing was measured yet. Finish the run with --resume, or: multitune eval {path}"
    facts.scores = part(Scores, folder.scores, path, missing, unscored)
    if facts.scores:
        facts.scores = with_joined(folder, facts.scores, missing)
    if folder.robustness.exists():
        unknown = "scores by group and on changed rows are not known"
        facts.robustness = part(Robustness, folder.robustness, path, missing, unknown)
    facts.events = list(_events(folder, missing))
    facts.routing = _routing(facts)
    for file in folder.comparisons:
        if found := part(ModelComparison, file, path, missing, "a comparison with another model cannot be shown"):
            facts.comparisons.append(found)
    for name in folder.evaluations:
        file = folder.evaluation(name).scores
        if found := part(Scores, file, path, missing, "this evaluation cannot be shown"):
            facts.evaluations[name] = found
    return facts


def part(kind: type[D], path: Path, root: Path, missing: list[str], remedy: str) -> D | None:
    """A document of the folder `root`; None and noted where it cannot be read."""
    return attempt(lambda: kind.read(path), path, root, missing, remedy)


def attempt(read: Callable[[], Read], path: Path, root: Path, missing: list[str], remedy: str) -> Read | None:
    """What `read` reads from a file of the folder `root`; None and noted where it cannot."""
    try:
        return read()
    except RunFolderError as error:
        missing.append(f"{path.relative_to(root).as_posix()} {_why(error, path)}: {remedy}")
        return None


def _why(error: RunFolderError, path: Path) -> str:
    """What is wrong with a file, in a few words."""
    if not path.is_file():
        return "is missing"
    newer = str(error).startswith(f"{path}: written by a newer")
    return "was written by a newer multitune" if newer else "is damaged"


def _config(folder: RunFolder, missing: list[str]) -> RunConfig | None:
    try:
        return load_config(folder.config)
    except InputError as error:
        missing.append(f"{folder.config.name} is damaged, the run's settings are not known: {error}")
        return None


def _events(folder: RunFolder, missing: list[str]) -> Iterator[Event]:
    if not folder.events.is_file():
        missing.append(f"{folder.events.name} is missing: no curves, shares or times can be shown")
        return
    damaged = 0
    for event in read_events(folder.events):
        if isinstance(event, DamagedEvent):
            damaged += 1
        else:
            yield event
    if damaged:
        missing.append(f"{folder.events.name}: {damaged} damaged lines were passed over")


def _routing(facts: RunFacts) -> RoutingVersion | None:
    folder, missing, root = facts.folder, facts.missing, facts.folder.path
    if not folder.routing_versions:
        if len(facts.tasks) > 1 and (facts.config is None or facts.config.method == "lora"):
            missing.append(f"routing/ holds no version yet: multitune select {root}")
        return None
    version = folder.routing_versions[-1]
    unknown = "what ships with which task is not known"
    table = part(RoutingTable, version / ROUTING_TABLE, root, missing, unknown)
    report = version / ROUTING_REPORT
    about = attempt(lambda: read_about(version), report, root, missing, "what the router is worth is not known")
    if isinstance(about, TaskChange):
        missing.append(
            f"routing/{version.name} came from adding or removing a task: to measure its router on test rows, "
            f"multitune select {root}"
        )
    if table is None:
        return None
    return RoutingVersion(
        version=version.name,
        table=table,
        report=about if isinstance(about, RouterReport) else None,
        change=about if isinstance(about, TaskChange) else None,
    )
