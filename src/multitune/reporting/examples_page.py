"""Examples won and lost by training together: counts over all rows, and the most telling ones to read."""

from collections import Counter
from collections.abc import Sequence

from multitune.core.results.scores import TransferRow
from multitune.reporting.blocks import Answers, Block, Cell, Section, Shown, Table, Text, header, number
from multitune.reporting.example_comparison import OUTCOMES, ExampleComparison, compare_examples
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import count


def answers_section(facts: RunFacts, id: str) -> Section | None:
    """Of the main adapter, against the one that learned each task alone, or the base."""
    rows = facts.rows()
    made = [compare_examples(facts, adapter, row, len(rows)) for adapter, row in rows]
    compared = [found for found in made if found is not None]
    if not compared:
        return None
    examples = _interleaved(compared)
    blocks: list[Block] = [_counts(compared, id), Answers([found.task for found in compared], OUTCOMES, examples)]
    if examples and not any(example.prompt for example in examples):
        remedy = f"`multitune eval {facts.folder.path}` answers again and keeps them"
        blocks.insert(1, Text(f"Prompts are not shown: this run was evaluated before they were kept. {remedy}."))
    lead = (
        f"Won: {_names(rows)} scores higher on this row than the adapter that learned the task alone (or the base, "
        "where none did); lost: lower. Counts are over all rows; shown are the rows that differ most."
    )
    return Section(f"{id}-answers", "Won and lost", lead, blocks)


def _names(rows: Sequence[tuple[str, TransferRow]]) -> str:
    """The adapter compared; `the adapter` where each task has its own."""
    names = {adapter for adapter, _ in rows}
    return names.pop() if len(names) == 1 else "the adapter"


def _interleaved(compared: Sequence[ExampleComparison]) -> list[Shown]:
    """The most telling example of each task and outcome first, then the second of each, and so on."""
    ranked: list[tuple[int, int, int, Shown]] = []
    for place, found in enumerate(compared):
        seen: Counter[str] = Counter()
        for example in found.telling:
            ranked.append((seen[example.outcome], OUTCOMES.index(example.outcome), place, example))
            seen[example.outcome] += 1
    return [example for *_, example in sorted(ranked, key=lambda row: row[:3])]


def _counts(compared: list[ExampleComparison], id: str) -> Table:
    rows = [
        [Cell(found.task), Cell(found.reference), number(found.counts.total(), count)]
        + [number(found.counts[name], count) for name in OUTCOMES]
        + [number(len(found.telling), count)]
        for found in compared
    ]
    columns = header("task", "against", ["rows", *OUTCOMES, "shown below"])
    return Table(f"{id}-won", "Rows won and lost", columns, rows)
