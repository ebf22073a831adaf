"""A run against other models, such as one behind an API: who is better task by task, and what asking it cost."""

from multitune.core.results.comparison import ApiUsage, ModelComparison, Parsing
from multitune.reporting import charts
from multitune.reporting.blocks import Block, Chart, Charts, Facts, Section
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import count, listed
from multitune.reporting.tables.comparison import VERDICTS, model_table


def comparisons_section(facts: RunFacts, id: str) -> Section | None:
    """Every comparison with another model, under both ways to parse."""
    blocks: list[Block] = []
    for place, found in enumerate(facts.comparisons, start=1):
        for parsing in found.parsing:
            blocks.append(model_table(found, parsing, id=f"{id}-model{place}-"))
            blocks.append(Charts([_chart(found, parsing, f"{id} {place}")]))
        if found.usage:
            blocks.append(Facts(_usage(found.usage)))
    lead = (
        "The same rows, answered by another model. Difference: ours − theirs; p adjusted for the number of tasks "
        "(Holm). Ours is what each task ships with, unless another adapter was asked for."
    )
    return Section(f"{id}-models", "Against other models", lead, blocks) if blocks else None


def _chart(found: ModelComparison, parsing: Parsing, key: str) -> Chart:
    """The differences under one way to parse, as a forest plot."""
    rows = found.parsing[parsing].tasks
    lines = [charts.Line(row.task, row.difference, row.low, row.high, VERDICTS[row.verdict]) for row in rows]
    name, axis = found.subject, f"difference in score, ours − {found.subject}"
    return charts.forest_chart(
        f"Against {name}, {parsing}",
        lines,
        axis,
        f"{key} {parsing}",
        what=f"Ours against {name}, {parsing}",
        sheet=f"against-{name}-{parsing}",
        columns=["task", "difference", "low", "high", "ours"],
    )


def _usage(usage: ApiUsage) -> list[tuple[str, str]]:
    """What a model behind an API used."""
    tokens = f"{count(usage.prompt_tokens)} in prompts, {count(usage.answer_tokens)} in answers"
    facts = [("Tokens", tokens)]
    if usage.cost is not None:
        facts.append(("Cost", f"{usage.cost:.4f} at the prices given"))
    if cut := {task: n for task, n in usage.cut_short.items() if n}:
        facts.append(("Answers cut short", listed([f"{task} {count(n)}" for task, n in cut.items()], 12)))
    return facts
