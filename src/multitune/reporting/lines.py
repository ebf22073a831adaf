"""Sentences that several reports share: verdicts counted, what shipping costs, how good the router is."""

from collections.abc import Mapping
from typing import Any

from multitune.evaluation.wording import points_text


def summary_line(summary: Mapping[str, Any]) -> str:
    """One line over all tasks: how many were helped or hurt, and by how much."""
    counts = ", ".join(f"{verdict} {len(tasks)}" for verdict, tasks in summary["verdicts"].items())
    changes = [f"mean {points_text(summary)}"]
    if summary["delta_m"] is not None:
        changes.append(f"Δm {summary['delta_m']:+.1%} (median {summary['median_change']:+.1%})")
    left_out = f"; Δm without {', '.join(summary['left_out'])}, near zero alone" if summary["left_out"] else ""
    return f"{counts}; {', '.join(changes)}{left_out}"


def cost_line(cost: Mapping[str, Any]) -> str:
    """What ships against a whole model per task, in one line."""
    shipped = ", ".join(cost["shipped"]) or "none"
    return (
        f"one backbone and adapters ({shipped}): {_millions(cost['together'])} parameters, against "
        f"{_millions(cost['separate'])} in a model per task ({cost['ratio']:.0%})"
    )


def quality_lines(report: Mapping[str, Any]) -> list[str]:
    """The router's quality, a line per view and per kind of stranger."""
    lines: list[str] = []
    for view, found in report["views"].items():
        lines.append(
            f"router by {view}: right task {found['accuracy']:.1%}, right adapter {found['same_adapter']:.1%}, turned "
            f"away {found['turned_away']:.1%}, calibration error {found['calibration_error']:.3f}"
        )
    for name, found in report["general"].items():
        lines.append(f"texts of no task ({name}): AUROC {found['auroc']:.2f}, routed even so {found['routed']:.0%}")
    if left_out := report["left_out"]:
        mean = {key: sum(row[key] for row in left_out.values()) / len(left_out) for key in ("auroc", "routed")}
        lines.append(
            f"each task left out in turn, as a stranger: AUROC {mean['auroc']:.2f}, routed even so "
            f"{mean['routed']:.0%}"
        )
    rivals = report.get("rivals", {})
    if uniform := rivals.get("uniform"):
        lines.append(f"uniform: one adapter for every text, the average of {', '.join(uniform['adapters'])}")
    if arrow := rivals.get("arrow"):
        lines.append(
            f"Arrow by prompt, without a router: right adapter {arrow['accuracy']:.1%} of {arrow['examples']}"
        )
    if rivals and not all(rivals.values()):
        lines.append(f"not compared with {', '.join(rivals)}: fewer than two adapters ship")
    kinds = ", ".join(f"{kind} {accuracy:.1%}" for kind, accuracy in report["kinds"].items())
    lines.append(f"kinds of router, right task by body: {kinds}")
    return lines


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:,.0f}M"
