"""Examples won and lost by training together: counts over all rows, and the most telling ones to read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from multitune.reporting.blocks import Answers, Block, Cell, Section, Shown, Table, Text, header
from multitune.reporting.example_comparison import OUTCOMES, Duel, duel
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import count


def answers_section(facts: RunFacts, id: str) -> Section | None:
    """Of the main adapter, against the one that learned each task alone, or the base."""
    rows = facts.rows()
    duels = [found for row in rows if (found := duel(facts, row, len(rows))) is not None]
    if not duels:
        return None
    examples = _interleaved(duels)
    blocks: list[Block] = [_counts(duels, id), Answers([found.task for found in duels], OUTCOMES, examples)]
    if examples and not any(example.prompt for example in examples):
        remedy = f"`multitune eval {facts.folder.path}` answers again and keeps them"
        blocks.insert(1, Text(f"Prompts are not shown: this run was evaluated before they were kept. {remedy}."))
    lead = (
        f"Won: {_names(rows)} scores higher on this row than the adapter that learned the task alone (or the base, "
        "where none did); lost: lower. Counts are over all rows; shown are the rows that differ most."
    )
    return Section(f"{id}-answers", "Won and lost", lead, blocks)


def _names(rows: Sequence[Mapping[str, Any]]) -> str:
    """The adapter compared; `the adapter` where each task has its own."""
    names = {row["adapter"] for row in rows}
    return names.pop() if len(names) == 1 else "the adapter"


def _interleaved(duels: Sequence[Duel]) -> list[Shown]:
    """The most telling example of each task and outcome first, then the second of each, and so on."""
    ranked: list[tuple[int, int, int, Shown]] = []
    for place, found in enumerate(duels):
        seen: Counter[str] = Counter()
        for example in found.telling:
            ranked.append((seen[example.outcome], OUTCOMES.index(example.outcome), place, example))
            seen[example.outcome] += 1
    return [example for *_, example in sorted(ranked, key=lambda row: row[:3])]


def _counts(duels: list[Duel], id: str) -> Table:
    rows = [
        [Cell(found.task), Cell(found.reference), Cell(count(found.counts.total()), value=found.counts.total())]
        + [Cell(count(found.counts[name]), value=found.counts[name]) for name in OUTCOMES]
        + [Cell(count(len(found.telling)), value=len(found.telling))]
        for found in duels
    ]
    columns = [*header("task", "against"), *header(numbers=["rows", *OUTCOMES, "shown below"])]
    return Table(f"{id}-won", "Rows won and lost", columns, rows)
