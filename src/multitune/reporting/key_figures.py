"""The four figures on top of a run's page: what one model gained, what it lost, what it costs, how sure that is."""

from collections.abc import Sequence

from multitune.core.bases import BASE
from multitune.core.results.scores import GAINED, LOST, UNDECIDED, TransferRow
from multitune.reporting.blocks import TONES, KeyFigure
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import interval, listed, minus, percent, side, signed
from multitune.reporting.verdict import several_seeds, tasks_with


def key_figures(facts: RunFacts) -> list[KeyFigure]:
    """A question, a figure and a line each; none where nothing was measured."""
    rows = [row for _, row in facts.rows()]
    return [_gain(facts, rows), _loss(facts, rows), _cost(facts), _evidence(facts, rows)] if rows else []


def _gain(facts: RunFacts, rows: Sequence[TransferRow]) -> KeyFigure:
    points, low, high = _mean_points(facts)
    reference = "alone" if any(row.against == "alone" for row in rows) else "the base"
    over = f"mean of {len(rows)} tasks against {reference}" if len(rows) > 1 else f"against {reference}"
    gained = tasks_with(rows, GAINED)
    whom = f"; {'helped' if several_seeds(rows) else 'ahead on'} {listed(gained)}" if gained else ""
    if not gained and len(rows) > 1:
        beyond = low is not None and low > 0.0
        whom = "; no single task beyond chance" + (", but their mean" if beyond else "")
    line = minus(f"{over} {interval(low, high, 1)}".rstrip()) + whom + _over_base(rows, reference)
    return KeyFigure("What did it gain?", minus(f"{signed(points, 1)} points"), line, TONES[side(low, high)])


def _over_base(rows: Sequence[TransferRow], reference: str) -> str:
    """How far it is ahead of the base, where the figure is about the adapters trained alone."""
    known = [row.together - row.base for row in rows if row.base is not None]
    if reference != "alone" or len(known) < len(rows):
        return ""
    return minus(f"; {signed(100 * sum(known) / len(known), 1)} against the base")


def _mean_points(facts: RunFacts) -> tuple[float, float | None, float | None]:
    """Mean over the rows, with its interval where they are of one table and the run knows it."""
    tables = [facts.transfer[name] for name in dict.fromkeys(adapter for adapter, _ in facts.rows())]
    if len(tables) == 1:
        summary = tables[0].summary
        return summary.mean_points, summary.points_low, summary.points_high
    points = sum(table.summary.mean_points * len(table.tasks) for table in tables)
    return points / len(facts.rows()), None, None


def _loss(facts: RunFacts, rows: Sequence[TransferRow]) -> KeyFigure:
    lost = [row for row in rows if row.verdict in LOST]
    tasks = "task" if len(rows) == 1 else "tasks"
    if lost:
        word = "hurt" if several_seeds(rows) else "behind on"
        line = f"{word} {listed([f'{row.task} ({signed(100 * row.difference, 1)})' for row in lost])}"
    else:
        line = "behind on none"
    undecided = [row for row in rows if row.verdict in UNDECIDED and not row.no_worse]
    if undecided:
        worst = min(undecided, key=lambda row: row.low)
        line += f"; {worst.task} may have lost up to {-100 * worst.low:.1f} points" if worst.low < 0 else ""
    elif not lost and all(row.no_worse for row in rows):
        line += f"; a loss of {100 * (rows[0].margin or 0.0):g} points is ruled out"
    return KeyFigure(
        "What did it lose?",
        f"{len(lost)} of {len(rows)} {tasks}",
        minus(line) + _forgotten(facts),
        "hurt" if lost else "",
    )


def _forgotten(facts: RunFacts) -> str:
    """What became of what the base knew before."""
    if not facts.scores:
        return ""
    lost = [
        name
        for name, kept in facts.scores.retention.items()
        if facts.main in kept.change and kept.change[facts.main].high < 0  # its whole interval
    ]
    if lost:
        return f"; of what the base knew, {listed(lost)} got worse"
    rises = [
        f"{name} ({signed(kept.loss[facts.main] - kept.loss[BASE])} nats)"
        for name, kept in facts.scores.general.items()
        if kept.loss.get(facts.main, 0.0) > kept.loss.get(BASE, 0.0)
    ]
    return f"; loss on general data rose: {listed(rises)}" if rises else ""


def _cost(facts: RunFacts) -> KeyFigure:
    question = "What does it cost?"
    if not facts.routing:
        line = f"nothing ships yet: `multitune select {facts.folder.path}` chooses on validation rows"
        return KeyFigure(question, "–", line)
    cost = facts.routing.table.cost
    adapters = len(cost.shipped)
    parts = f"one backbone with {adapters} {'adapter' if adapters == 1 else 'adapters'}"
    return KeyFigure(question, percent(cost.ratio), f"of the parameters of a model per task: {parts}")


def _evidence(facts: RunFacts, rows: Sequence[TransferRow]) -> KeyFigure:
    fewest = min(rows, key=lambda row: row.examples)
    seeds = min(row.seeds for row in rows)
    confidence = percent(facts.scores.confidence if facts.scores else None)
    of = "one training: another may differ" if seeds == 1 else f"{seeds} trainings count as chance"
    smallest = f" (fewest: {fewest.task})" if len({row.examples for row in rows}) > 1 else " of each task"
    line = f"{facts.split} rows{smallest}; {confidence} intervals, p adjusted for {len(rows)}; {of}"
    return KeyFigure("How sure is that?", f"{fewest.examples} rows, {seeds} {'seed' if seeds == 1 else 'seeds'}", line)
