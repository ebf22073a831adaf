"""Every arm of a study in one table to sort and to filter; its sheet holds what the page has no room for."""

from typing import Any

from multitune.reporting.blocks import Cell, Section, Sheet, Table, header, measured
from multitune.reporting.formatting import DASH, count, lasting, listed, percent, score

SPLITS = ("validation", "test")
FIELDS = ("key", "name", "general", "schedule", "seed", "budget", "steps", "tokens", "seconds")


def arms_section(found: dict[str, Any], id: str) -> Section | None:
    """Arms as rows: recipe, budget, and the score of every task on the rows that choose."""
    arms: list[dict[str, Any]] = found.get("arms") or []
    if not arms:
        return None
    tasks = list(found.get("tasks") or dict.fromkeys(task for arm in arms for task in arm["tasks"]))
    rows = [_row(arm, tasks) for arm in arms]
    columns = [*header("arm", "tasks", "budget", "schedule")]
    columns += header(numbers=["tasks", "general", "seed", "steps", "tokens", "time", *tasks])
    caption = f"{len(arms)} arms, with scores on validation rows"
    table = Table(f"{id}-arms", caption, columns, rows, sortable=True, full=_sheet(arms, tasks))
    lead = "Choose a column's title to sort by it. The data hold losses, test scores and row counts besides."
    return Section(f"{id}-arms", "Every arm", lead, [table])


def _row(arm: dict[str, Any], tasks: list[str]) -> list[Cell]:
    members: list[str] = arm.get("tasks") or []
    budget = str(arm.get("budget") or DASH).replace("_", " ")
    cells = [
        Cell(str(arm.get("name") or arm.get("key") or DASH)),
        Cell(listed(members, 4), value=" + ".join(members), tone="quiet"),
        Cell(budget),
        Cell(str(arm.get("schedule") or DASH)),
        Cell(str(len(members)), value=len(members)),
        measured(arm.get("general"), percent(arm.get("general"))),
        measured(arm.get("seed"), str(arm.get("seed"))),
        measured(arm.get("steps"), count(arm.get("steps"))),
        measured(arm.get("tokens"), count(arm.get("tokens"))),
        measured(arm.get("seconds"), lasting(arm.get("seconds"))),
    ]
    found = arm.get("validation") or {}
    scores = [(found.get(task) or {}).get("score") for task in tasks]
    return [*cells, *(measured(value, score(value)) for value in scores)]


def _sheet(arms: list[dict[str, Any]], tasks: list[str]) -> Sheet:
    """A row per arm, task and split."""
    rows: list[list[Any]] = []
    for arm in arms:
        head = [*(arm.get(field) for field in FIELDS), " + ".join(arm.get("tasks") or ())]
        for split in SPLITS:
            found = arm.get(split) or {}
            for task in tasks:
                if value := found.get(task):
                    rows.append([*head, split, task, value.get("score"), value.get("loss"), value.get("examples")])
    return Sheet("arms", [*FIELDS, "tasks", "split", "task", "score", "loss", "examples"], rows)
