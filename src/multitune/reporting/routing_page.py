"""What ships with each task and why, and what the router that finds it is worth."""

from multitune.core.results.routing import RouterQuality, RouterReport, RoutingVersion
from multitune.reporting.blocks import Block, Facts, Folded, Lines, Section
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import listed, percent, score
from multitune.reporting.sentences import SHIPPING_RULE, change_lines
from multitune.reporting.tables.routing import (
    ROUTED_NOTE,
    change_table,
    choices_table,
    confusion_table,
    found_table,
    rejections_table,
    routed_table,
)


def routing_section(facts: RunFacts, id: str) -> Section | None:
    """Choices, scores under the router, confusions and calibration; after a change of tasks, what that did."""
    routing = facts.routing
    if not routing:
        return None
    blocks: list[Block] = [choices_table(routing.table, version=routing.version, id=f"{id}-")]
    if routing.report:
        found = found_table(routing.report, id=f"{id}-")
        blocks += [*([found] if found else []), routed_table(routing.report, id=f"{id}-")]
        rejections = rejections_table(routing.report, id=f"{id}-")
        blocks += [rejections] if rejections else []
        blocks.append(Facts(_quality(routing, routing.report)))
        tables = [confusion_table(routing.report, view, id=f"{id}-") for view in routing.report.views]
        if confused := [table for table in tables if table]:
            blocks.append(Folded("Which task is taken for which", confused))
    elif routing.change:
        blocks += [change_table(routing.change, id=f"{id}-"), Lines("What changed", change_lines(routing.change))]
    return Section(f"{id}-ship", "What ships", _lead(routing), blocks)


def _lead(routing: RoutingVersion) -> str:
    droppable = routing.table.cost.droppable
    unused = f" No task ships with {listed(droppable)}: they can be dropped." if droppable else ""
    return f"{SHIPPING_RULE}{unused}"


def _quality(routing: RoutingVersion, report: RouterReport) -> list[tuple[str, str]]:
    one = len(set(routing.table.adapters.values())) == 1  # which is then always the right one

    def adapter(found: RouterQuality) -> str:
        return "" if one else f"right adapter {percent(found.same_adapter, 1)}, "

    facts = [("How to read the table", f"{ROUTED_NOTE}.")]
    for view, found in report.views.items():
        gone = f"abstained {percent(found.abstained, 1)}, unsure {percent(found.unsure, 1)}"
        right = f"right task {percent(found.accuracy, 1)}, {adapter(found)}{gone}"
        calibration = f"expected calibration error {score(found.calibration_error)}"
        what = f"{right}; {calibration} (0 is a probability that means what it says)"
        facts.append((f"By {'the whole prompt' if view == 'prompt' else 'its body alone'}", what))
    for name, found in report.general.items():
        text = f"{percent(found.routed)} routed all the same, AUROC of familiarity {found.auroc:.2f}"
        facts.append((f"Texts of no task ({name})", text))
    if report.left_out:
        routed = [f"{task} {percent(found.routed)}" for task, found in report.left_out.items()]
        facts.append(("Each task left out in turn", f"routed all the same: {listed(routed, 12)}"))
    kinds = [f"{kind} {percent(accuracy, 1)}" for kind, accuracy in report.kinds.items()]
    facts.append(("Kinds of router, right task by body", listed(kinds)))
    return facts
