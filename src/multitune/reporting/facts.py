"""A run folder as plain facts; what is missing, damaged or from a newer version is noted, and never fatal."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from multitune.core.errors import InputError, RunFolderError
from multitune.core.files import read_json
from multitune.core.run_folder import RunFolder

ROW = frozenset(
    [
        "task",
        "metric",
        "base",
        "alone",
        "together",
        "difference",
        "low",
        "high",
        "p_holm",
        "verdict",
        "examples",
        "reference",
        "against",
    ]
)  # of a transfer table
NAMED = frozenset(("name",))
CHOICE = frozenset(("adapter", "metric", "examples", "why"))  # of a routing table
BASE = "base"  # the subject that no adapter stands on


@dataclass(slots=True)
class RunFacts:
    """What a run folder says of itself; a part that could not be read is empty and named in `missing`."""

    folder: RunFolder
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    scores: dict[str, Any] = field(default_factory=dict[str, Any])
    selection: dict[str, Any] = field(default_factory=dict[str, Any])
    versions: dict[str, Any] = field(default_factory=dict[str, Any])
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    table: dict[str, Any] = field(default_factory=dict[str, Any])  # the last routing version
    router: dict[str, Any] = field(default_factory=dict[str, Any])  # its report
    routing: str = ""  # its name
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    comparisons: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])  # with other models
    missing: list[str] = field(default_factory=list[str])

    @property
    def name(self) -> str:
        """The run's name; its folder's where the config cannot be read."""
        return str(self.config.get("name") or self.folder.path.resolve().name)

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order of the config, or of the scores."""
        tasks, scored = self.config.get("tasks"), self.scores.get("tasks")
        listed = [str(task["name"]) for task in tasks if _has(task, NAMED)] if isinstance(tasks, list) else []
        return listed or (list(scored) if isinstance(scored, dict) else [])

    @property
    def split(self) -> str:
        """The rows that scores are of."""
        return str(self.scores.get("split") or "test")

    @property
    def transfer(self) -> dict[str, Any]:
        """Adapter -> its table against the ones trained alone."""
        return self.scores.get("transfer") or {}

    @property
    def main(self) -> str:
        """The adapter that the page is about: of those compared, the first that learned most tasks; may be empty."""
        compared = self.transfer
        return max(compared, key=lambda name: len(compared[name]["tasks"]), default="")

    def rows(self, adapter: str = "") -> list[dict[str, Any]]:
        """Rows of an adapter's transfer table, each with the adapter's name.

        Where none is named, those of the main adapter; and of all adapters where each learned one task.
        """
        whose = [adapter or self.main]
        if not adapter and self.main and len(self.transfer[self.main]["tasks"]) == 1:
            whose = list(self.transfer)
        return [{**row, "adapter": name} for name in whose for row in self.transfer.get(name, {}).get("tasks") or ()]

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
    folder = facts.folder.require()
    facts.config = _config(folder, facts.missing)
    for name, remedy in (
        ("versions", "what the run was made with is not known"),
        ("data", "row counts and hashes are not known"),
        ("selection", "which checkpoints were chosen is not known; training may not have ended"),
        ("scores", f"nothing was measured yet. Finish the run with --resume, or: multitune eval {path}"),
    ):
        setattr(facts, name, part(getattr(folder, name), path, facts.missing, remedy))
    facts.events = list(_events(folder, facts.missing))
    _routing(facts)
    for held in sorted((path / "comparisons").glob("*.json")):
        if found := part(held, path, facts.missing, "a comparison with another model cannot be shown"):
            facts.comparisons.append(found)
    _check_forms(facts)
    return facts


def part(path: Path, root: Path, missing: list[str], remedy: str) -> dict[str, Any]:
    """A JSON object of the folder `root`; empty and noted where it cannot be read."""
    shown = _within(path, root)
    try:
        value = read_json(path)
    except RunFolderError:
        missing.append(f"{shown} is {'damaged' if path.is_file() else 'missing'}: {remedy}")
        return {}
    if not isinstance(value, dict):
        missing.append(f"{shown} holds no object: {remedy}")
        return {}
    return value


def _check_forms(facts: RunFacts) -> None:
    """Leave out the two tables that all parts of a page speak of, where they are not of the form that is read here."""
    tables = facts.scores.get("transfer")
    if tables and not _is_transfer(tables):
        facts.scores["transfer"] = {}
        facts.missing.append("scores.json: `transfer` has another form than this version reads; see a newer multitune")
    choices = facts.table.get("tasks")
    if choices and not (isinstance(choices, dict) and all(_has(row, CHOICE) for row in choices.values())):
        facts.table = {}
        facts.missing.append(f"routing/{facts.routing}/table.json has another form than this version reads")


def _is_transfer(tables: Any) -> bool:
    """Whether every table holds rows with all fields."""
    if not isinstance(tables, dict):
        return False
    parts: list[Any] = [table.get("tasks") if isinstance(table, dict) else None for table in tables.values()]
    return all(isinstance(rows, list) and rows and all(_has(row, ROW) for row in rows) for rows in parts)


def _has(row: Any, fields: frozenset[str]) -> bool:
    return isinstance(row, dict) and fields <= row.keys()


def _within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _config(folder: RunFolder, missing: list[str]) -> dict[str, Any]:
    from multitune.config.text import read_text, read_yaml

    try:
        value = read_yaml(read_text(folder.config), folder.config.name)
    except InputError:
        value = None
    if not isinstance(value, dict):
        missing.append(f"{folder.config.name} is damaged: the run's settings are not known")
        return {}
    return value


def lines(path: Path) -> Iterator[Mapping[str, Any] | None]:
    """The objects of a file of JSON lines, None for a line that is damaged; nothing where the file is missing."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:
                    value = None
                yield value if isinstance(value, dict) else None
    except OSError:
        return


def _events(folder: RunFolder, missing: list[str]) -> Iterator[dict[str, Any]]:
    if not folder.events.is_file():
        missing.append(f"{folder.events.name} is missing: no curves, shares or times can be shown")
    damaged = 0
    for event in lines(folder.events):
        if event is None or not isinstance(event.get("kind"), str):
            damaged += 1
        else:
            yield dict(event)
    if damaged:
        missing.append(f"{folder.events.name}: {damaged} damaged lines were passed over")


def _routing(facts: RunFacts) -> None:
    folder, missing = facts.folder, facts.missing
    versions = folder.routing_versions
    several = len(facts.tasks) > 1 and facts.config.get("method") != "full"
    if not versions:
        if several:
            missing.append(f"routing/ holds no version yet: multitune select {folder.path}")
        return
    facts.routing = versions[-1].name
    facts.table = part(versions[-1] / "table.json", folder.path, missing, "what ships with which task is not known")
    facts.router = part(versions[-1] / "report.json", folder.path, missing, "what the router is worth is not known")
    if facts.router and "views" not in facts.router:  # written by `add` or `remove`, which measure something else
        facts.router = {}
        older = f"multitune select {folder.path}"
        missing.append(f"routing/{facts.routing} came from adding or removing a task: to measure its router, {older}")
