"""What ships with each task and why, and what the router that finds it is worth."""

from math import sqrt
from typing import Any

from multitune.reporting.blocks import Block, Cell, Facts, Section, Table, header
from multitune.reporting.facts import BASE, RunFacts
from multitune.reporting.formatting import DASH, count, interval, listed, percent, score, signed

WIDEST = 40  # tasks of a confusion matrix that a page shows


def routing_section(facts: RunFacts, id: str) -> Section | None:
    """Choices, scores under the router, confusions and calibration."""
    if not facts.table.get("tasks"):
        return None
    blocks: list[Block] = [_choices(facts, id)]
    if facts.router:
        blocks += [_under_the_router(facts, id), Facts(_quality(facts.router))]
        blocks += [confusion for view in facts.router["views"] if (confusion := _confusion(facts, id, view))]
    cost = facts.table.get("cost") or {}
    lead = "Each task ships with the adapter that did best on validation rows; the shared one stays unless another is "
    lead += "better by more than one standard error."
    if cost.get("droppable"):
        lead += f" No task ships with {listed(cost['droppable'])}: they can be dropped."
    return Section(f"{id}-ship", "What ships", lead, blocks)


def _choices(facts: RunFacts, id: str) -> Table:
    rows: list[list[Cell]] = []
    for task, row in facts.table["tasks"].items():
        standings = row.get("standings") or {}
        mine, base = ((standings.get(name) or {}).get("score") for name in (row["adapter"], BASE))
        cells = [Cell(task), Cell(row["adapter"]), Cell(row["metric"], tone="quiet"), Cell(count(row["examples"]))]
        cells += [Cell(score(value), value=DASH if value is None else value) for value in (base, mine)]
        rows.append([*cells, Cell(row["why"], tone="quiet")])
    columns = [
        *header("task", "ships with", "metric"),
        *header(numbers=["rows", "base", "chosen"]),
        *header("because"),
    ]
    return Table(f"{id}-choices", f"Choices on validation rows (version {facts.routing})", columns, rows)


def _under_the_router(facts: RunFacts, id: str) -> Table:
    rows: list[list[Cell]] = []
    for task, row in facts.router["tasks"].items():
        scores = row["scores"]
        cells = [Cell(task), Cell(count(row["examples"]), value=row["examples"])]
        cells += [Cell(score(scores[name]), value=scores[name]) for name in (BASE, "oracle", "routed")]
        cells.append(_change(row["routed"]))
        cells += [Cell(score(scores["routed_body"]), value=scores["routed_body"]), _change(row["routed_body"])]
        rows.append(cells)
    numbers = ["rows", "base", "right adapter", "routed", "difference", "routed by body", "difference"]
    caption = f"Scores under the router on {facts.router['rows']} rows, against always the right adapter"
    return Table(f"{id}-routed", caption, [*header("task"), *header(numbers=numbers)], rows)


def _change(row: dict[str, Any]) -> Cell:
    return Cell(f"{signed(row['difference'])} {interval(row)}", value=row["difference"])


def _quality(report: dict[str, Any]) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for view, found in report["views"].items():
        facts.append(
            (
                f"By {'the whole prompt' if view == 'prompt' else 'its body alone'}",
                f"right task {percent(found['accuracy'], 1)}, right adapter {percent(found['same_adapter'], 1)}, "
                f"turned away {percent(found['turned_away'], 1)}; expected calibration error "
                f"{score(found['calibration_error'])} (0 is a probability that means what it says)",
            )
        )
    for name, found in (report.get("general") or {}).items():
        text = f"{percent(found['routed'])} routed all the same, AUROC of familiarity {found['auroc']:.2f}"
        facts.append((f"Texts of no task ({name})", text))
    if strangers := report.get("left_out"):
        routed = [f"{task} {percent(found['routed'])}" for task, found in strangers.items()]
        facts.append(("Each task left out in turn", f"routed all the same: {listed(routed, 12)}"))
    kinds = [f"{kind} {percent(accuracy, 1)}" for kind, accuracy in (report.get("kinds") or {}).items()]
    facts.append(("Kinds of router, right task by body", listed(kinds)))
    return facts


def _confusion(facts: RunFacts, id: str, view: str) -> Table | None:
    matrix = facts.router["views"][view]["confusion"]
    tasks = list(facts.router["tasks"])
    if len(tasks) != len(matrix) or len(tasks) > WIDEST:
        return None
    rows: list[list[Cell]] = []
    for place, counts in enumerate(matrix):
        total = sum(counts) or 1
        cells = [
            Cell(count(n), value=n, strength=sqrt(n / total) * (1 if at == place else -1) if n else None)
            for at, n in enumerate(counts)
        ]
        rows.append([Cell(tasks[place]), *cells])
    caption = (
        f"True task (row), likeliest task (column), by {'the whole prompt' if view == 'prompt' else 'its body alone'}"
    )
    return Table(f"{id}-confusion-{view}", caption, [*header("task"), *header(numbers=tasks)], rows, heat=True)
