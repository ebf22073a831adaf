"""The page's part for one run: verdict, four figures, bars, and its sections in the order of a reader's questions."""

from collections.abc import Callable
from pathlib import Path

from multitune.core.bases import BASE
from multitune.core.results.scores import Scores, TransferRow
from multitune.reporting import charts
from multitune.reporting.audit_page import audit_section
from multitune.reporting.blocks import Block, Cell, Charts, Lines, Part, Section, Table, header, number
from multitune.reporting.classes_page import classes_section
from multitune.reporting.comparison_page import comparisons_section
from multitune.reporting.examples_page import answers_section
from multitune.reporting.facts import RunFacts, read_run
from multitune.reporting.formatting import count
from multitune.reporting.key_figures import key_figures
from multitune.reporting.provenance import cost_section, provenance_section
from multitune.reporting.robustness_page import robustness_section
from multitune.reporting.routing_page import routing_section
from multitune.reporting.sentences import evidence_lines, score_warnings, summary_line
from multitune.reporting.tables.scores import (
    general_table,
    matrix_table,
    retention_table,
    transfer_note,
    transfer_table,
)
from multitune.reporting.task_bars import task_bars
from multitune.reporting.training_page import curves_section, shares_section
from multitune.reporting.verdict import shipping, verdict

STRONGEST = 0.2  # the difference that has a heat map's full colour


def run_part(path: Path, id: str) -> Part:
    """Read a run folder and lay it out.

    Raises:
        RunFolderError: there is no run in this folder.
    """
    facts = read_run(path)
    makers = (
        scores_section,
        classes_section,
        matrix_section,
        evaluations_section,
        comparisons_section,
        kept_section,
        robustness_section,
        routing_section,
        curves_section,
        shares_section,
        answers_section,
        audit_section,
        cost_section,
        provenance_section,
    )
    sections = [section for make in makers if (section := make(facts, id))]
    return Part(
        id=id,
        kind="run",
        name=facts.name,
        verdict=verdict(facts),
        figures=key_figures(facts),
        sections=sections,
        missing=list(dict.fromkeys(facts.missing)),
        about=_about(facts),
        ships=shipping(facts),
        bars=task_bars(facts),
    )


def _about(facts: RunFacts) -> str:
    when = f", {facts.written:%d %B %Y, %H:%M}" if facts.written else ""
    base = f" on {facts.config.base}" if facts.config else ""
    return f"{len(facts.tasks)} {'task' if len(facts.tasks) == 1 else 'tasks'}{base}{when}"


def scores_section(facts: RunFacts, id: str) -> Section | None:
    """The table per task, and the forest plot of each compared adapter."""
    scores = facts.scores
    if not scores or not scores.transfer:
        return None
    blocks: list[Block] = [transfer_table(scores, id=f"{id}-", more=_more_columns(facts, scores))]
    for name, table in scores.transfer.items():
        lines = [charts.Line(r.task, r.difference, r.low, r.high, r.verdict) for r in table.tasks]
        against = " or ".join(sorted({row.against for row in table.tasks}))
        axis = f"difference in score, {name} − {against}"
        what, title = f"Differences of {name} with intervals", f"{name} against {against}"
        key, sheet = f"{id} {name}", f"differences-{name}"
        blocks.append(Charts([charts.forest_chart(title, lines, axis, key, what=what, sheet=sheet)]))
    lead = (
        f"Scores on {scores.split} rows that neither training nor any choice has seen. A filled point is a verdict, a "
        "hollow one may be chance."
    )
    if warnings := score_warnings(scores):
        blocks.append(Lines("Before these scores are believed", warnings))
    for name in scores.transfer:
        if evidence := evidence_lines(scores, name):
            about = "" if len(scores.transfer) == 1 else f" of {name}"
            blocks.append(Lines(f"What the verdicts{about} leave open", evidence))
    blocks.append(Lines("How to read the table", transfer_note(scores).split("; ")))
    return Section(f"{id}-scores", "Task by task", lead, blocks)


def _more_columns(facts: RunFacts, scores: Scores) -> dict[str, Callable[[TransferRow], float | None]]:
    """Scores that stand beside those of the table: under the router, and by other models on the same rows."""
    columns: dict[str, Callable[[TransferRow], float | None]] = {}
    report = facts.routing.report if facts.routing else None
    # Of several trainings the router serves the first one: beside their mean its scores would mislead.
    if report and not any(row.seeds > 1 for table in scores.transfer.values() for row in table.tasks):
        routed = {task: row.scores["routed"] for task, row in report.tasks.items()}
        columns["routed"] = lambda row: routed.get(row.task)
    for found in facts.comparisons:
        if found.split == scores.split:
            theirs = {(r.task, r.examples): r.theirs for r in found.parsing["strict"].tasks}
            columns[found.subject] = lambda row, theirs=theirs: theirs.get((row.task, row.examples))
    return columns


def matrix_section(facts: RunFacts, id: str) -> Section | None:
    """Every subject's score on every task that it answered, coloured by the difference to the base."""
    table = matrix_table(facts.scores, STRONGEST, id=f"{id}-") if facts.scores else None
    if table is None:
        return None
    lead = (
        "Blue is better than the base, orange worse, in full colour from 20 points on. A dash: this adapter was not "
        "asked for this task, since it did not learn it."
    )
    return Section(f"{id}-matrix", "Adapters on tasks", lead, [table])


def evaluations_section(facts: RunFacts, id: str) -> Section | None:
    """Other evaluations of the same adapters, on another split or other numbers of rows."""
    rows = [
        [
            Cell(name),
            Cell(scores.split),
            number(max(task.scores[BASE].examples for task in scores.tasks.values()), count),
            Cell(adapter),
            Cell(summary_line(table.summary)),
        ]
        for name, scores in facts.evaluations.items()
        for adapter, table in scores.transfer.items()
    ]
    if not rows:
        return None
    columns = header("evaluation", "split", ["most rows"], "adapter", "summary")
    lead = "Everything else on this page is about the run's own evaluation; these stand beside it."
    table = Table(f"{id}-evaluations", "The same adapters on other rows", columns, rows)
    return Section(f"{id}-evaluations", "Other evaluations", lead, [table])


def kept_section(facts: RunFacts, id: str) -> Section | None:
    """Retention sets and general data, before and after."""
    scores = facts.scores
    blocks: list[Block] = []
    if scores and scores.retention:
        blocks.append(retention_table(scores.retention, id=f"{id}-"))
    if scores and scores.general:
        blocks.append(general_table(scores, id=f"{id}-"))
    lead = "Whether the model still knows what the base knew."
    if scores and scores.retention:
        lead += " Intervals here are not adjusted for the number of sets."
    return Section(f"{id}-kept", "What was kept", lead, blocks) if blocks else None
