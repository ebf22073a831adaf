"""The page's part for how evenly and how steadily a run answers: by group of rows, with terms swapped, perturbed."""

from multitune.reporting.blocks import Block, Lines, Section
from multitune.reporting.facts import RunFacts
from multitune.reporting.tables.robustness import tables


def robustness_section(facts: RunFacts, id: str) -> Section | None:
    """What was measured of the answers beside their scores; None where nothing was."""
    if facts.robustness is None:
        return None
    blocks: list[Block] = []
    for table, lines in tables(facts.robustness, id=f"{id}-"):
        blocks += [table, Lines(f"{table.caption}: what it says", lines)]
    lead = (
        f"Of what each task ships with, on {facts.robustness.split} rows. Higher or lower stands where interval and "
        "adjusted p both say so; cannot tell is no proof that groups or texts are answered alike."
    )
    return Section(f"{id}-robustness", "By group, and on changed rows", lead, blocks)
