"""What a study found between tasks: who helps whom, what groups do beyond their parts, and what foretold it."""

from collections.abc import Sequence
from typing import Any

from multitune.reporting import charts
from multitune.reporting.blocks import TONES, Block, Cell, Chart, Charts, Section, Sheet, Table, header, measured
from multitune.reporting.formatting import DASH, count, interval, lasting, listed, signed

FULL_POINTS = 10.0  # the difference in points that has a heat map's full colour


def helps_section(found: dict[str, Any], id: str) -> Section | None:
    """The matrix of one task with one other, as a heat map."""
    helps = found.get("helps")
    if not helps:
        return None
    tasks: list[str] = helps["tasks"]
    rows: list[list[Cell]] = []
    numbers: list[list[Any]] = []
    for place, task in enumerate(tasks):
        cells = [Cell(task)]
        for at, other in enumerate(tasks):
            points, low, high, verdict = (
                _at(helps.get(key), place, at) for key in ("points", "low", "high", "verdict")
            )
            strength = None if points is None or place == at else max(-1.0, min(1.0, points / FULL_POINTS))
            mark = {"helped": " ▲", "hurt": " ▼"}.get(str(verdict), "")
            text = "" if place == at else signed(points, 1) + mark
            cells.append(
                Cell(text, value=DASH if points is None else points, tone=TONES.get(verdict, ""), strength=strength)
            )
            if place != at:
                numbers.append([task, other, points, low, high, verdict])
        rows.append(cells)
    columns = [*header("task"), *header(numbers=[f"with {task}" for task in tasks])]
    full = Sheet("helps", ["task", "with", "points", "low", "high", "verdict"], numbers)
    caption = "Points that a row's task gains when trained with a column's task"
    table = Table(f"{id}-helps", caption, columns, rows, heat=True, full=full)
    lead = (
        "Against the row's task alone at equal passes, on the rows that choose. ▲ helped and ▼ hurt beyond what "
        "chance explains; without a mark it cannot be told. Blue gains, orange loses, in full colour from 10 points."
    )
    return Section(f"{id}-helps", "Who helps whom", lead, [table])


def _at(matrix: Any, row: int, column: int) -> Any:
    return None if matrix is None else matrix[row][column]


def synergy_section(found: dict[str, Any], id: str) -> Section | None:
    """Effects of groups, of pairs, and beyond pairs."""
    synergy = found.get("synergy") or {}
    blocks: list[Block] = []
    if groups := synergy.get("groups"):
        axis = "points with related tasks in the mixture, against without"
        lines = [
            charts.Line(
                str(row.get("name") or " + ".join(row["tasks"])),
                row["effect"],
                row.get("low"),
                row.get("high"),
                _side(row),
            )
            for row in groups
        ]
        blocks.append(
            Charts(
                [
                    forest_chart(
                        "synergy-groups",
                        lines,
                        axis,
                        f"{id} synergy",
                    )
                ]
            )
        )
        cells = [
            [
                Cell(line.label),
                Cell(listed(row["tasks"], 8)),
                measured(line.difference, signed(line.difference, 2)),
                Cell(interval(row, 2), tone="quiet"),
                measured(row.get("combinations"), count(row.get("combinations"))),
            ]
            for line, row in zip(lines, groups, strict=True)
        ]
        columns = [*header("group", "tasks"), *header(numbers=["effect, points", "interval", "combinations"])]
        blocks.append(Table(f"{id}-synergy-groups", "What related tasks are worth to a group", columns, cells))
    for key, caption in (
        ("pairs", "Mean change of a task when one other joins"),
        ("higher", "What three tasks do beyond the sum of their pairs"),
    ):
        if rows := synergy.get(key):
            cells = [
                [
                    Cell(" + ".join(row["tasks"])),
                    Cell(row["task"]),
                    measured(row["effect"], signed(row["effect"], 2)),
                    measured(row.get("combinations"), count(row.get("combinations"))),
                ]
                for row in sorted(rows, key=lambda row: -abs(row["effect"] or 0.0))
            ]
            columns = [*header("tasks", "effect on"), *header(numbers=["points", "combinations"])]
            blocks.append(Table(f"{id}-synergy-{key}", caption, columns, cells, sortable=len(cells) > 8))
    lead = "In points of each task's metric, on the rows that choose, over the combinations that were measured."
    return Section(f"{id}-synergy", "Synergy", lead, blocks) if blocks else None


def _side(row: dict[str, Any]) -> str:
    """What the interval says by itself; it is not adjusted."""
    low, high = row.get("low"), row.get("high")
    return "helped" if low is not None and low > 0 else "hurt" if high is not None and high < 0 else "cannot tell"


def ladder_section(found: dict[str, Any], id: str) -> Section | None:
    """How well each rung predicted the one it is held against, and the points behind it."""
    blocks: list[Block] = []
    if rungs := found.get("ladder"):
        rows = [
            [
                Cell(str(row["rung"])),
                Cell(str(row.get("against") or "")),
                measured(row.get("rank_correlation"), signed(row.get("rank_correlation"), 2)),
                Cell(interval(row, 2), tone="quiet"),
                measured(row.get("regret"), signed(row.get("regret"), 2)),
                measured(row.get("pairs"), count(row.get("pairs"))),
                measured(row.get("seconds"), lasting(row.get("seconds"))),
            ]
            for row in rungs
        ]
        numbers = ["rank correlation", "interval", "regret, points", "pairs", "time"]
        columns = [*header("rung", "held against"), *header(numbers=numbers)]
        blocks.append(Table(f"{id}-ladder", "Rungs, from cheap to dear", columns, rows))
    by_rung: dict[str, list[dict[str, Any]]] = {}
    for row in found.get("predictions") or []:
        if row.get("predicted") is not None and row.get("measured") is not None:
            by_rung.setdefault(str(row["rung"]), []).append(row)
    pictures = [_scatter(rung, rows, id) for rung, rows in by_rung.items()]
    if pictures:
        blocks.append(Charts(pictures))
    lead = (
        "Each rung foretells what tasks do to each other, as relative gains in loss. Regret: what its best choice "
        "loses against the best one."
    )
    return Section(f"{id}-ladder", "Predicted and measured", lead, blocks) if blocks else None


def _scatter(rung: str, rows: Sequence[dict[str, Any]], id: str) -> Chart:
    points = [(float(row["predicted"]), float(row["measured"])) for row in rows]
    agree = sum((a > 0) == (b > 0) for a, b in points)
    sheet = [[" + ".join(row.get("tasks") or ()), row.get("task"), row["predicted"], row["measured"]] for row in rows]
    return Chart(
        title=rung,
        svg=charts.against(points, ("predicted gain in loss", "measured gain in loss"), f"{id} {rung}"),
        label=f"Measured over predicted by {rung}: {len(points)} points, {agree} of them of the same sign.",
        sheet=Sheet(f"predicted-{rung}", ["tasks", "task", "predicted", "measured"], sheet),
    )


def forest_chart(name: str, lines: Sequence[charts.Line], axis: str, key: str) -> Chart:
    """A forest plot for wide and for narrow pages."""
    return Chart(
        title="Differences with intervals",
        svg=charts.forest(lines, axis, key),
        label=charts.seen(lines, "Differences with intervals"),
        sheet=Sheet(name, ["row", "difference", "low", "high", "verdict"], charts.rows_of(lines)),
        narrow=charts.forest(lines, axis, key, wide=False),
    )
