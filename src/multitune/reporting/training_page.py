"""How training went: loss curves task by task, and whether the mixture drew what it was asked to."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from multitune.core.results.run import Selection
from multitune.reporting import charts
from multitune.reporting.blocks import Block, Cell, Chart, Charts, Folded, Section, Sheet, Table, header, number
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import count, listed, percent, score
from multitune.reporting.training_curves import Curve, Shares, curves, shares, steps_of

MOST_LINES = 5  # adapters on one picture
CRITERIA = ("mean", "worst", "weighted")


def curves_section(facts: RunFacts, id: str) -> Section | None:
    """A picture per task, and the table of chosen checkpoints."""
    by_task: dict[str, list[Curve]] = {}
    for curve in curves(facts.events, facts.selection):
        by_task.setdefault(curve.task, []).append(curve)
    main = facts.main or next((curve.adapter for lines in by_task.values() for curve in lines), "")
    alone = {row.task: row.reference for _, row in facts.rows() if row.against == "alone"}
    pictures = [_picture(task, lines, (main, alone.get(task, "")), id) for task, lines in by_task.items()]
    blocks: list[Block] = [Charts(pictures)] if pictures else []
    if facts.selection:
        blocks.append(_chosen(facts.selection, id))
    lead = (
        "Loss in nats per answer token; lower is better. Strong lines with dots: validation. Faint lines: training, "
        "smoothed. The ring marks the checkpoint that the run kept. Rows of the task seen, not steps, stand below, so "
        "that arms of different length can be compared."
    )
    return Section(f"{id}-curves", "How it learned", lead, blocks) if blocks else None


def _picture(task: str, lines: Sequence[Curve], first: tuple[str, str], id: str) -> Chart:
    """The main adapter first, then the one alone, then others as far as there is room."""
    main, alone = first
    order = sorted(lines, key=lambda curve: (curve.adapter != main, curve.adapter != alone))[:MOST_LINES]
    names = _names(order, first)
    ends = [
        f"{names[curve.adapter]} validation from {score(curve.validation[0][2])} to {score(curve.validation[-1][2])}"
        + (f", kept at step {curve.chosen}" if curve.chosen is not None else "")
        for curve in order
        if curve.validation
    ]
    starts = [
        f"{names[curve.adapter]} training from {score(curve.train[0][2])} to {score(curve.train[-1][2])}"
        for curve in order
        if curve.train and not curve.validation
    ]
    rows = [
        [curve.adapter, kind, *point]
        for curve in order
        for kind, points in (
            ("validation", curve.validation),
            ("train", curve.train[:: max(1, len(curve.train) // 400)]),
        )
        for point in points
    ]
    return Chart(
        title=task,
        svg=charts.loss_curves(task, order, names, id),
        label=f"Loss on {task}. {'; '.join([*ends, *starts])}.",
        sheet=Sheet(f"loss-{task}", ["adapter", "rows of", "step", "rows seen", "loss"], rows),
    )


def _names(order: Sequence[Curve], first: tuple[str, str]) -> Mapping[str, str]:
    """What stands at the end of each line: `together` and `alone` where that is what they are."""
    main, alone = first
    if not alone:
        return {curve.adapter: curve.adapter for curve in order}
    return {curve.adapter: {main: "together", alone: "alone"}.get(curve.adapter, curve.adapter) for curve in order}


def _chosen(selection: Selection, id: str) -> Table:
    rows: list[list[Cell]] = []
    for name, kept in selection.adapters.items():
        cells = [Cell(name), number(kept.chosen, count), Cell(kept.why or f"best {kept.by}", tone="quiet")]
        best = [kept.best.get(criterion) for criterion in CRITERIA]
        cells += [number(one.step if one else None, count) for one in best]
        own = [f"{key.removeprefix('task:')} {one.step}" for key, one in kept.best.items() if key.startswith("task:")]
        rows.append([*cells, Cell(listed(own, 8), tone="quiet")])
    numbers = ["best by mean", "by worst", "by weighted"]
    columns = header("adapter", ["kept step"], "because", numbers, "best step per task")
    return Table(f"{id}-chosen", "Checkpoints: the kept one, and the best by every criterion", columns, rows)


def shares_section(facts: RunFacts, id: str) -> Section | None:
    """Configured against achieved shares of every adapter that draws from several sets."""
    found = shares(facts.events)
    blocks: list[Block] = []
    for adapter, group in groupby(found, key=lambda line: line.adapter):
        lines = list(group)
        totals, along = _totals(facts, adapter, lines, id), Charts([_share(line, id) for line in lines])
        if blocks:  # the others draw alike, as further seeds do
            blocks.append(Folded(f"{adapter}: over the whole run, and along it", [totals, along]))
        else:
            blocks += [totals, Folded(f"{adapter}: shares along the run", [along])]
    lead = f"The mixture follows the {facts.config.mixture.schedule} schedule. " if facts.config else ""
    lead += "In the pictures, dashed: the share asked for; solid: the share of rows drawn, in windows along the run."
    return Section(f"{id}-shares", "What it was fed", lead, blocks) if blocks else None


def _share(line: Shares, id: str) -> Chart:
    asked, got = dict(line.configured), dict(line.achieved)
    rows = [[step, share, got.get(step, "")] for step, share in asked.items()]
    kept = rows[:: max(1, len(rows) // 400)] + [row for row in rows if row[2] != ""]
    first, last = line.configured[0][1], line.configured[-1][1]
    drawn = f", drawn {percent(line.achieved[0][1])} to {percent(line.achieved[-1][1])}" if line.achieved else ""
    return Chart(
        title=f"{line.name} in {line.adapter}",
        svg=charts.share_lines(line, id),
        label=f"Share of {line.name} in {line.adapter}: asked {percent(first)} to {percent(last)}{drawn}.",
        sheet=Sheet(
            f"share-{line.adapter}-{line.name}", ["step", "asked", "achieved"], sorted(kept, key=lambda r: r[0])
        ),
    )


def _totals(facts: RunFacts, adapter: str, lines: Sequence[Shares], id: str) -> Table:
    """Over the whole run: mean share asked for, share drawn, and passes over the set's rows."""
    last = next(
        event.adapters[adapter] for event in reversed(list(steps_of(facts.events))) if adapter in event.adapters
    )
    total = sum(last.achieved.values()) or 1
    rows: list[list[Cell]] = []
    for line in lines:
        asked = sum(share for _, share in line.configured) / len(line.configured)
        drawn = last.achieved[line.name]
        known = facts.data.sets.get(line.name) if facts.data else None
        size = known.rows.get("train") if known else None
        passes = drawn / size if size else None
        cells = [Cell(line.name), number(asked, percent, 1), number(drawn / total, percent, 1)]
        rows.append([*cells, number(drawn, count), number(size, count), number(passes, score, 2)])
    columns = header("set", ["asked, mean", "drawn", "rows drawn", "rows there", "passes"])
    return Table(f"{id}-totals-{adapter}", f"{adapter} over the whole run", columns, rows)
