"""Markdown for a pull request: a run (gained, lost, kept, what ships, how to repeat it), and a gate of two runs."""

from multitune.core.results.audit import Audit
from multitune.core.results.gate import Gate
from multitune.core.results.robustness import Robustness
from multitune.core.results.run import Versions
from multitune.core.results.scores import Scores
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder
from multitune.reporting.renderers import inert, markdown_table
from multitune.reporting.run_scores import read_run_scores
from multitune.reporting.sentences import (
    change_lines,
    evidence_lines,
    quality_lines,
    score_warnings,
    summary_line,
    view_lines,
)
from multitune.reporting.tables.audit import audit_lines
from multitune.reporting.tables.gate import gate_notes, gate_sentence, gate_table
from multitune.reporting.tables.robustness import tables
from multitune.reporting.tables.routing import choices_table
from multitune.reporting.tables.scores import general_line, retention_table, transfer_note, transfer_table


def run_markdown(folder: RunFolder) -> str:
    """The whole of it.

    Raises:
        RunFolderError: the run was not evaluated, or is damaged.
    """
    scores = read_run_scores(folder.require())
    parts = [f"### multitune: {inert(folder.path.resolve().name)}", *transfer_parts(scores), *kept_parts(scores)]
    parts += [*robustness_parts(folder), *routing_parts(folder), *audit_parts(folder), _repeat(folder)]
    return "\n\n".join(parts) + "\n"


def audit_parts(folder: RunFolder) -> list[str]:
    """What the audit before training found, as a sentence and a list; nothing where none was made."""
    audit = Audit.read_if_made(folder.audit)
    if audit is None:
        return []
    sentence, *lines = map(inert, audit_lines(audit))
    return [f"{sentence[:1].upper()}{sentence[1:]}.", *(["\n".join(f"- {line}" for line in lines)] if lines else [])]


def transfer_parts(scores: Scores) -> list[str]:
    """For each compared adapter a line and its table, and how to read them."""
    parts: list[str] = []
    for name, table in scores.transfer.items():
        parts += [
            f"**{inert(name)}**: {inert(summary_line(table.summary))}",
            markdown_table(transfer_table(scores, [name])),
            "\n".join(f"- {inert(line)}" for line in evidence_lines(scores, name)),
        ]
    warnings = [f"Warning: {inert(warning)}" for warning in score_warnings(scores)]
    return [*parts, inert(transfer_note(scores)), *warnings] if parts else []


def kept_parts(scores: Scores, adapter: str | None = None) -> list[str]:
    """What was kept of what the base knew: sets that nothing trained on, and the loss on general data.

    Args:
        scores: of the run.
        adapter: the one that it is about; all when None.
    """
    parts: list[str] = []
    table = retention_table(scores.retention, adapter)
    if table.rows:
        parts.append(markdown_table(table))
    return [*parts, *(inert(general_line(scores, name, adapter)) for name in scores.general)]


def robustness_parts(folder: RunFolder) -> list[str]:
    """Scores by group, flips and scores on perturbed rows, as far as they were measured."""
    found = Robustness.read_if_made(folder.robustness)
    parts: list[str] = []
    for table, lines in tables(found) if found else ():
        parts += [markdown_table(table), "\n".join(f"- {inert(line)}" for line in lines)]
    return parts


def routing_parts(folder: RunFolder) -> list[str]:
    """What each task ships with and why, and how well a router finds it; nothing where there is no routing table."""
    routing = read_version(folder)
    if routing is None:
        return []
    lines: list[str] = []
    if routing.report:
        lines = quality_lines(routing.report)
    elif routing.change:
        lines = [*change_lines(routing.change), *view_lines(routing.change.views)]
    listed = "\n".join(f"- {inert(line)}" for line in lines)
    return [markdown_table(choices_table(routing.table)), f"Router\n{listed}"]


def _repeat(folder: RunFolder) -> str:
    made_with = inert(Versions.read(folder.versions).line)
    return f"Repeat: `multitune train` on the run's `{folder.config.name}`, with {made_with}."


def gate_markdown(found: Gate) -> str:
    """The verdict of a gate, its table, and how to read it."""
    head = f"### multitune gate: {inert(found.new)} against {inert(found.old)}"
    parts = [head, f"**{inert(gate_sentence(found))}**", markdown_table(gate_table(found))]
    return "\n\n".join([*parts, *map(inert, gate_notes(found))]) + "\n"
