"""An audit in tables and sentences: what was found, what was accepted, and what was measured."""

from multitune.core.results.audit import Audit, Finding, Severity
from multitune.core.text import printable
from multitune.reporting.blocks import Cell, Table, Tone, header, number
from multitune.reporting.formatting import count, cut, duration, listed, score

SEVERITY_TONES: dict[Severity, Tone] = {"high": "hurt", "medium": "unsure", "low": "quiet"}
EXCERPT = 200  # characters of an example row


def findings_table(audit: Audit, id: str = "") -> Table:
    """A row per finding, the worst first."""
    rows = [
        [
            Cell(one.severity, tone=SEVERITY_TONES[one.severity]),
            Cell(one.check),
            Cell(", ".join(one.sets)),
            Cell(printable(one.message)),
            Cell(printable(one.remedy)),
            number(one.rows, count),
            Cell("" if one.accepted is None else printable(one.accepted), tone="quiet"),
        ]
        for one in audit.findings
    ]
    columns = header("severity", "check", "sets", "what was found", "what to do", ["rows"], "accepted")
    return Table(f"{id}findings", "What the audit found", columns, rows)


def measures_table(audit: Audit, id: str = "") -> Table:
    """A row per figure that is no fault by itself."""
    rows = [
        [
            Cell(one.check),
            Cell(one.set),
            Cell(printable(one.name)),
            number(one.value),
            Cell(f"{score(one.interval[0])} to {score(one.interval[1])}" if one.interval else "", tone="quiet"),
            Cell(one.unit, tone="quiet"),
        ]
        for one in audit.measures
    ]
    columns = header("check", "set", "measure", ["value", "95%"], "unit")
    return Table(f"{id}measures", "What the audit measured", columns, rows)


def audit_sentence(audit: Audit) -> str:
    """How many rows were looked at, how long that took, and how many findings are open."""
    rows = sum(sum(one.rows.values()) for one in audit.sets)
    looked = f"{'a sample of ' if audit.sampled else ''}{count(rows)} rows of {_plural(len(audit.sets), 'set')}"
    counts = [_plural(n, "finding") + f" of severity {s}" for s in SEVERITY_TONES if (n := _open(audit, s))]
    accepted = len(audit.findings) - len(audit.open)
    known = f", {accepted} accepted" if accepted else ""
    return f"audited {looked} in {duration(audit.seconds)}: {listed(counts) or 'no finding'} open{known}"


def _open(audit: Audit, severity: Severity) -> int:
    return sum(one.severity == severity for one in audit.open)


def _plural(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def finding_line(finding: Finding) -> str:
    """A finding in one line, with why it was accepted."""
    why = "" if finding.accepted is None else f" (accepted: {finding.accepted})"
    return printable(f"{finding.severity}: {finding.check}, {', '.join(finding.sets)}: {finding.message}{why}")


def example_lines(finding: Finding) -> list[str]:
    """The example rows of a finding, one line each."""
    return [
        f"{one.set}, {one.split} row {printable(one.row)}: {cut(printable(' '.join(one.text.split())), EXCERPT)}"
        for one in finding.examples
    ]


def audit_lines(audit: Audit) -> list[str]:
    """The sentence, the findings, and the checks that were not made."""
    skipped = [printable(f"not made: {one.check}: {one.reason}") for one in audit.skipped]
    return [audit_sentence(audit), *map(finding_line, audit.findings), *skipped]
