"""Several runs side by side: every task's score in each, and whether they were asked the same rows."""

from collections.abc import Sequence

from multitune.core.records import Split
from multitune.reporting import charts
from multitune.reporting.blocks import Block, Cell, Charts, Part, Section, Table, Text, header, number
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import DASH, count, listed, percent, span
from multitune.reporting.verdict import by_verdict


def comparison_part(runs: Sequence[RunFacts]) -> Part:
    """The part that opens a page of several runs."""
    names = _names(runs)
    sections = [section for section in (_scores(runs, names), _costs(runs, names)) if section is not None]
    return Part("compared", "comparison", "Side by side", _verdict(runs, names), [], sections, [])


def _names(runs: Sequence[RunFacts]) -> list[str]:
    """The runs' names, with their folders where two are called the same."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else str(run.folder.path) for name, run in zip(names, runs, strict=True)]


def _verdict(runs: Sequence[RunFacts], names: Sequence[str]) -> str:
    """What training together did in each."""
    sentences: list[str] = []
    for run, name in zip(runs, names, strict=True):
        by = {verdict: tasks for verdict, tasks in by_verdict([row for _, row in run.rows()]).items() if tasks}
        words = ", ".join(f"{verdict} {len(tasks)}" for verdict, tasks in by.items())
        sentences.append(f"{name}: {words or 'not measured yet'}")
    return "; ".join(sentences) + "."


def _scores(runs: Sequence[RunFacts], names: Sequence[str]) -> Section | None:
    tasks = list(dict.fromkeys(row.task for run in runs for _, row in run.rows()))
    if not tasks:
        return None
    rows: list[list[Cell]] = []
    lines: list[charts.Line] = []
    for task in tasks:
        found = [next((row for _, row in run.rows() if row.task == task), None) for run in runs]
        cells = [Cell(task), Cell(next(row.metric for row in found if row), tone="quiet")]
        for row, name in zip(found, names, strict=True):
            cells.append(number(row.together if row else None))
            cells.append(Cell(span(row) if row else DASH, tone="quiet"))
            if row:
                lines.append(charts.Line(f"{task}, {name}", row.difference, row.low, row.high, row.verdict))
        rows.append(cells)
    columns = header("task", "metric")
    for name in names:
        columns += header([f"{name}, together", "difference to alone or base"])
    chart = charts.forest_chart(
        "Side by side",
        lines,
        "difference in score, together − alone or base",
        "compared",
        what="Differences of each run with intervals",
        sheet="compared",
        columns=("task, run", *charts.FOREST[1:]),
    )
    blocks: list[Block] = [
        Table("compared", "Every task in each run", columns, rows),
        Charts([chart]),
        Text(_same_rows(runs, tasks)),
    ]
    lead = "Each run against its own references; between runs there is no test here, so small gaps mean nothing."
    return Section("compared-scores", "Scores", lead, blocks)


def _same_rows(runs: Sequence[RunFacts], tasks: Sequence[str]) -> str:
    """Whether scores can be compared at all."""
    differ: list[str] = []
    for task in tasks:
        digests: set[str | None] = set()
        for run in runs:
            if run.data and task in run.data.sets:
                digests.add(run.data.sets[task].digests.get(_split(run)))
        if len(digests) > 1:
            differ.append(task)
    if differ:
        return f"Not the same rows: {listed(differ, 12)}. What was measured on different rows cannot be compared."
    return "All tasks were measured on the same rows, by their hashes."


def _split(run: RunFacts) -> Split:
    return "validation" if run.split == "validation" else "test"


def _costs(runs: Sequence[RunFacts], names: Sequence[str]) -> Section | None:
    rows: list[list[Cell]] = []
    for run, name in zip(runs, names, strict=True):
        cost = run.routing.table.cost if run.routing else None
        config = run.config
        cells = [Cell(name), Cell(config.base if config else DASH)]
        cells.append(Cell(config.mixture.schedule if config else DASH))
        cells.append(number(config.lora.rank if config else None, count))
        cells.append(number(config.train.epochs if config else None, "{:g}".format))
        rate = config.train.learning_rate if config else None
        cells.append(Cell(f"{rate:g}" if rate else "default"))
        cells += [number(cost.together if cost else None, count), number(cost.ratio if cost else None, percent)]
        rows.append(cells)
    numbers = ["rank", "epochs", "learning rate", "parameters to serve", "of a model per task"]
    columns = header("run", "base", "schedule", numbers)
    return Section(
        "compared-costs", "What they differ in", "", [Table("settings", "Settings and size", columns, rows)]
    )
