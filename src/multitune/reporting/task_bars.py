"""The scores on top of a run's page: per task base, alone and together as bars, the verdict, and what ships."""

from multitune.core.bases import BASE
from multitune.core.results.scores import UNDECIDED, TransferRow
from multitune.reporting.blocks import TONES, Bar, TaskBars
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import DASH, count, interval, minus, score, signed
from multitune.reporting.tables.scores import verdict_text
from multitune.reporting.verdict import too_few

MOST_OPEN = 12  # tasks on top of a page; the rest is one click away


def task_bars(facts: RunFacts) -> list[TaskBars]:
    """A row per task of the main adapter; of very many tasks those with a verdict first."""
    rows = facts.rows()
    if len(rows) > MOST_OPEN:
        rows = sorted(rows, key=lambda one: one[1].verdict in UNDECIDED)
    return [_of_task(facts, adapter, row) for adapter, row in rows]


def _of_task(facts: RunFacts, adapter: str, row: TransferRow) -> TaskBars:
    together = "together" if row.against == "alone" else adapter
    scores = [(BASE, row.base), *([("alone", row.alone)] if row.against == "alone" else []), (together, row.together)]
    longest = max(1.0, *(value for _, value in scores if value is not None))
    bars = [
        Bar(name, minus(score(value)), max(0.0, value or 0.0) / longest, main=name == together)
        for name, value in scores
    ]
    points = signed(100 * row.difference, 1)
    reach = interval(100 * row.low, 100 * row.high, 1)
    return TaskBars(
        task=row.task,
        about=f"{row.metric}, {count(row.examples)} {facts.split} rows",
        bars=bars,
        difference=minus(f"{points} points {reach}"),
        verdict=verdict_text(row),
        tone=TONES[row.verdict],
        notes=_notes(facts, adapter, row),
    )


def _notes(facts: RunFacts, adapter: str, row: TransferRow) -> list[str]:
    """What it ships with, and what speaks against trusting its figures."""
    choice = facts.routing.table.tasks.get(row.task) if facts.routing else None
    found = [f"ships with {choice.adapter}" if choice else f"ships with {DASH}"] if facts.routing else []
    if few := too_few(facts, row.task):
        found.append(f"too few rows to ship on ({few})")
    answered = facts.scores.tasks[row.task].scores.get(adapter) if facts.scores else None
    return [*found, *([answered.degenerate] if answered and answered.degenerate else [])]
