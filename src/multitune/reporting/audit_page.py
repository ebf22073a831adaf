"""The page's part for the audit of a run's data: findings by severity with example rows, measures, skipped checks."""

from multitune.core.text import printable
from multitune.reporting.blocks import Block, Lines, Section
from multitune.reporting.facts import RunFacts
from multitune.reporting.tables.audit import audit_sentence, example_lines, findings_table, measures_table


def audit_section(facts: RunFacts, id: str) -> Section | None:
    """What the audit before training found; None where none was made."""
    audit = facts.audit
    if audit is None:
        return None
    blocks: list[Block] = []
    if audit.findings:
        blocks.append(findings_table(audit, id=f"{id}-"))
    for one in audit.findings:
        if lines := example_lines(one):
            blocks.append(Lines(f"Example rows: {one.check}, {', '.join(one.sets)}", lines))
    if audit.measures:
        blocks.append(measures_table(audit, id=f"{id}-"))
    if audit.skipped:
        blocks.append(Lines("Checks that were not made", [printable(f"{o.check}: {o.reason}") for o in audit.skipped]))
    sentence = audit_sentence(audit)
    lead = (
        f"Before training, {sentence}. A finding says what the rows would teach; whether it is a fault here is for a "
        "person to say, who may accept it with a reason."
    )
    return Section(f"{id}-audit", "Audit of the data", lead, blocks)
