"""Tables of routing versions: what ships with each task and why, scores under the router, and what a change did."""

from collections.abc import Sequence
from math import sqrt
from typing import get_args

from multitune.core.bases import BASE
from multitune.core.results.routing import RouterReport, RoutingTable, TaskChange, View
from multitune.core.results.scores import Difference
from multitune.reporting.blocks import Cell, Table, header, number
from multitune.reporting.formatting import DASH, count, percent, span

WIDEST = 40  # tasks of a confusion matrix that a page shows


def choices_table(table: RoutingTable, *, version: str = "", id: str = "") -> Table:
    """What each task ships with, and why."""
    rows: list[list[Cell]] = []
    for task, choice in table.tasks.items():
        base, chosen = (choice.standings.get(name) for name in (BASE, choice.adapter))
        cells = [Cell(task), Cell(choice.metric, tone="quiet"), number(choice.examples, count), Cell(choice.adapter)]
        cells += [number(standing.score if standing else None) for standing in (base, chosen)]
        rows.append([*cells, Cell(choice.why, tone="quiet")])
    columns = header("task", "metric", ["n"], "ships with", ["base", "chosen"], "because")
    named = f" (version {version})" if version else ""
    return Table(f"{id}choices", f"Choices on validation rows{named}", columns, rows)


def routed_table(report: RouterReport, *, id: str = "") -> Table:
    """Every task's score by the base, by the adapter it ships with (oracle), and under the router."""
    uniform = report.baselines.uniform
    first = [BASE, *(["uniform"] if uniform else []), "oracle", "routed"]
    rows: list[list[Cell]] = []
    for task, row in report.tasks.items():
        scores = {**row.scores, "uniform": uniform.scores[task] if uniform else 0.0}
        cells = [Cell(task), Cell(row.metric, tone="quiet"), number(row.examples, count)]
        cells += [number(scores[name]) for name in first]
        rows.append([*cells, _change(row.routed), number(scores["routed_body"]), _change(row.routed_body)])
    columns = header("task", "metric", ["n", *first, "difference", "by body", "difference"])
    caption = f"Scores under the router on {report.rows} rows, against always the right adapter (oracle)"
    return Table(f"{id}routed", caption, columns, rows)


def rejections_table(report: RouterReport, *, id: str = "") -> Table | None:
    """What it cost that rows went to the base or to the shared adapter; None in a report that does not say."""
    views = [view for view in get_args(View) if all(view in row.rejections for row in report.tasks.values())]
    if not views:
        return None
    titles: list[str] = []
    for view in views:
        by = "by prompt" if view == "prompt" else "by body"
        titles += [f"{by}: out-of-distribution", f"{by}: costs", f"{by}: unsure", f"{by}: costs so"]
    rows: list[list[Cell]] = []
    for task, row in report.tasks.items():
        cells = [Cell(task), number(row.examples, count)]
        for found in (row.rejections[view] for view in views):
            cells += [number(found.rejected, percent, 1), number(found.rejected_cost)]
            cells += [number(found.unsure, percent, 1), number(found.unsure_cost)]
        rows.append(cells)
    who = "the base (out-of-distribution) or the shared adapter (unsure)"
    caption = f"Of {report.rows} rows, those that {who} answered, and the score that this cost against oracle"
    return Table(f"{id}rejections", caption, header("task", ["n", *titles]), rows)


ROUTED_NOTE = (
    "oracle: each task by the adapter it ships with; routed: chosen by the whole prompt; by body: chosen by what "
    "the prompts of a task do not share; differences to oracle, with intervals"
)


def _change(row: Difference) -> Cell:
    return Cell(span(row), value=row.difference)


def confusion_table(report: RouterReport, view: View, *, id: str = "") -> Table | None:
    """True task by likeliest task; None where it was not kept or is too wide."""
    matrix, tasks = report.views[view].confusion, list(report.tasks)
    if len(tasks) != len(matrix) or len(tasks) > WIDEST:
        return None
    rows: list[list[Cell]] = []
    for place, counts in enumerate(matrix):
        rows.append([Cell(tasks[place]), *confusion_cells(counts, right=place)])
    by = "the whole prompt" if view == "prompt" else "its body alone"
    caption = f"True task (row), likeliest task (column), by {by}"
    return Table(f"{id}confusion-{view}", caption, header("task", tasks), rows, heat=True)


def confusion_cells(counts: Sequence[int], right: int) -> list[Cell]:
    """A row of a confusion matrix: blue where it is right, orange where not, as strong as there are rows."""
    total = sum(counts) or 1
    return [
        number(n, count, strength=sqrt(n / total) * (1 if at == right else -1) if n else None)
        for at, n in enumerate(counts)
    ]


def found_table(report: RouterReport, *, id: str = "") -> Table | None:
    """How many rows of each task the router finds, by prompt and by body; None where confusions were not kept."""
    tasks = list(report.tasks)
    views = {view: found.confusion for view, found in report.views.items() if len(found.confusion) == len(tasks)}
    if not views:
        return None
    rows: list[list[Cell]] = []
    for place, task in enumerate(tasks):
        n = sum(next(iter(views.values()))[place])
        cells = [Cell(task), number(n, count)]
        cells += [number(matrix[place][place] / n if n else None, percent, 1) for matrix in views.values()]
        wrong = {other: n for other, n in zip(tasks, list(views.values())[-1][place], strict=True) if other != task}
        most = max(wrong, key=lambda other: wrong[other], default="")
        rows.append([*cells, Cell(f"{most} ({wrong[most]})" if most and wrong[most] else DASH, tone="quiet")])
    titles = ["by whole prompt" if view == "prompt" else "by body alone" for view in views]
    columns = header("task", ["n", *titles], "most often taken for")
    return Table(f"{id}found", f"Rows of each task that the router finds ({report.rows} rows)", columns, rows)


def change_table(change: TaskChange, *, id: str = "") -> Table:
    """What adding or removing a task did to each of the others, under the router."""
    rows = [
        [
            Cell(task),
            number(share, percent, 1),
            number(change.scores[task]["before"]),
            number(change.scores[task]["after"]),
        ]
        for task, share in change.routes_changed.items()
    ]
    columns = header("task", ["validation rows rerouted", "score before", "after"])
    changed = f"adding {change.added}" if change.added else f"removing {change.removed}"
    return Table(f"{id}change", f"What {changed} did to the other tasks", columns, rows)
