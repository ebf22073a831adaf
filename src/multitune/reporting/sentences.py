"""Sentences that several reports share: verdicts counted, what shipping costs, how good the router is."""

from collections.abc import Mapping
from statistics import fmean

from multitune.core.records import FEW_ROWS
from multitune.core.results.comparison import ApiUsage
from multitune.core.results.routing import DeploymentCost, RouterQuality, RouterReport, RoutingTable, TaskChange, View
from multitune.core.results.scores import Scores, TaskScores, TransferRow, TransferSummary, TransferTable
from multitune.core.results.study import StudyCost
from multitune.reporting.formatting import duration, listed, millions, score

SEEN = 0.0005  # the least difference that three decimals show
# The rule of deployment.select, for a reader.
SHIPPING_RULE = (
    "A task ships with the shared adapter unless another is better on validation rows by more than the best of as "
    "many equally good candidates shows by chance (max-T bootstrap, alpha 0.05): by score, or, where scores cannot "
    "tell, by the likelihood of the right answers. The base ships where the shared adapter scores below it and no "
    "other is ahead of both by that much."
)


def summary_line(summary: TransferSummary) -> str:
    """One line over all tasks: how many gained or lost, and by how much."""
    counts = ", ".join(f"{verdict} {len(tasks)}" for verdict, tasks in summary.verdicts.items())
    changes = [f"mean {summary.points_text}"]
    if summary.delta_m is not None and summary.median_change is not None:
        changes.append(f"Δm {summary.delta_m:+.1%} (median {summary.median_change:+.1%})")
    left_out = f"; Δm without {', '.join(summary.left_out)}, near zero alone" if summary.left_out else ""
    return f"{counts}; {', '.join(changes)}{left_out}"


def evidence_lines(scores: Scores, adapter: str) -> list[str]:
    """What stands beside the verdicts: losses ruled out, what the undecided would need, likelihood, training noise.

    Args:
        scores: of the run.
        adapter: whose table it is about.
    """
    table = scores.transfer[adapter]
    summary, one_run = table.summary, max(row.seeds for row in table.tasks) == 1
    lines: list[str] = []
    if summary.margin is not None:
        rows = f"a loss of {score(summary.margin)} or more {'in this run ' if one_run else ''}is ruled out"
        tasks = f"on {listed(summary.no_worse)}" if summary.no_worse else "on no task"
        every = ": one adapter for all, nothing lost" if summary.loses_nothing and len(table.tasks) > 1 else ""
        lines.append(f"no worse: {rows} {'on every task' if summary.loses_nothing else tasks}{every}")
    lines += [
        f"undecided: {row.task}, {_undecided(scores, summary, row)}"
        for row in table.tasks
        if row.task in summary.detectable
    ]
    if likelihood := _likelihood_line(table, scores.confidence):
        lines.append(likelihood)
    noise = [f"{row.task} ±{score(row.noise)}" for row in table.tasks if row.noise is not None]
    if noise:
        source = "validation scores at the last looks of this run" if one_run else "one training to the next"
        lines.append(f"training noise, from {source}: {', '.join(noise)}")
    return lines


def score_warnings(scores: Scores) -> list[str]:
    """What to mind before any score is believed: answers that are alike, and rows that training may have shown."""
    every = {**scores.tasks, **scores.retention}
    return [*scores.warnings, *(_overlap_line(name, of, scores.split) for name, of in every.items() if of.overlapping)]


def _overlap_line(name: str, of: TaskScores, split: str) -> str:
    rows = next(iter(of.scores.values())).examples
    clean = [f"{subject} {score(one.clean)}" for subject, one in of.scores.items() if one.clean is not None]
    others = f"; on the other {rows - of.overlapping}: {', '.join(clean)}" if clean else ""
    return f"{of.overlapping} of {rows} {split} rows of {name} overlap with training rows{others}"


def _undecided(scores: Scores, summary: TransferSummary, row: TransferRow) -> str:
    """What the test could have seen, and what would decide a difference like the one it saw."""
    shown = summary.detectable[row.task]
    if shown < SEEN:
        return "every row scores the same on both sides"
    parts = [f"this test shows differences from {score(shown)} on"]
    if need := summary.settle.get(row.task):
        seeds = need.both[1] if need.both else need.seeds
        longer = scores.training_seconds * ((seeds or 0) / row.seeds - 1.0)
        takes = f" ({duration(longer)} more of training)" if longer > 0.0 else ""
        ways = [f"{need.rows:,} rows" if need.rows else "", f"{seeds} seeds{takes}" if seeds else ""]
        known = " or ".join(way for way in ways if way)
        if need.both:
            known = f"{need.both[0]:,} rows and {known}"
        parts.append(f"one like this needs {known}" if known else "one like this is too small for a larger test")
    return "; ".join(parts)


def _likelihood_line(table: TransferTable, confidence: float) -> str:
    sides = {row.task: row.likelihood.side(confidence) for row in table.tasks if row.likelihood}
    likelier, less = ([task for task, side in sides.items() if side == wanted] for wanted in (1, -1))
    parts = [f"likelier on {listed(likelier)}" if likelier else "", f"less likely on {listed(less)}" if less else ""]
    text = ", ".join(part for part in parts if part)
    return f"right answers are {text} (likelihood by row, p adjusted by Holm)" if text else ""


def few_rows_line(table: RoutingTable) -> str:
    """The tasks that were chosen for on too few rows to ship on; empty where there is none."""
    few = [f"{task} ({row.examples})" for task, row in table.tasks.items() if row.examples < FEW_ROWS["validation"]]
    return f"too few validation rows to ship on: {listed(few)}" if few else ""


def cost_line(cost: DeploymentCost) -> str:
    """What ships against a whole model per task, in one line."""
    return (
        f"one backbone and adapters ({', '.join(cost.shipped) or 'none'}): {millions(cost.together)} parameters, "
        f"against {millions(cost.separate)} in a model per task ({cost.ratio:.0%})"
    )


def view_lines(views: Mapping[View, RouterQuality]) -> list[str]:
    """How often the router finds the right task and adapter, a line per view."""
    return [
        f"router by {view}: right task {found.accuracy:.1%}, right adapter {found.same_adapter:.1%}, abstained "
        f"{found.abstained:.1%}, unsure {found.unsure:.1%}, calibration error {found.calibration_error:.3f}"
        for view, found in views.items()
    ]


def quality_lines(report: RouterReport) -> list[str]:
    """The router's quality: by view, on texts of no task, and against other ways to choose."""
    lines = view_lines(report.views)
    for name, found in report.general.items():
        lines.append(f"texts of no task ({name}): AUROC {found.auroc:.2f}, routed even so {found.routed:.0%}")
    if left_out := list(report.left_out.values()):
        auroc, routed = fmean(found.auroc for found in left_out), fmean(found.routed for found in left_out)
        lines.append(
            f"each task left out in turn, as out-of-distribution text: AUROC {auroc:.2f}, routed even so {routed:.0%}"
        )
    baselines = report.baselines
    if baselines.uniform:
        lines.append(f"uniform: one adapter for every text, the average of {', '.join(baselines.uniform.adapters)}")
    if baselines.arrow:
        arrow = baselines.arrow
        lines.append(f"Arrow by prompt, without a router: right adapter {arrow.accuracy:.1%} of {arrow.examples}")
    if baselines.compared and not (baselines.uniform or baselines.arrow):
        lines.append(f"not compared with {', '.join(baselines.compared)}: fewer than two adapters ship")
    kinds = ", ".join(f"{kind} {accuracy:.1%}" for kind, accuracy in report.kinds.items())
    lines.append(f"kinds of router, right task by body: {kinds}")
    return lines


def change_lines(change: TaskChange) -> list[str]:
    """What a change of the tasks did, in sentences; what shipped first."""
    if change.added and change.choice:
        choice = change.choice
        lines = [f"{change.added} ships with {choice.adapter} ({choice.metric}): {choice.why}"]
    else:
        lines = [f"{change.removed} is routed to no more"]
    changed = (*change.files_changed, *change.logits_changed)
    same = f"{change.files} older files are byte for byte what they were, older tasks' logits bit for bit"
    accuracy = ", ".join(f"by {view} {value:.1%}" for view, value in change.accuracy.items())
    return [*lines, f"CHANGED: {', '.join(changed)}" if changed else same, f"router, right task {accuracy}"]


def study_cost_line(cost: StudyCost) -> str:
    """What a study took, against training every combination."""
    line = (
        f"the search took {cost.spent_seconds / 60:.1f} minutes; "
        f"all combinations would take {cost.everything_seconds / 60:.1f}"
    )
    if cost.ratio is not None:
        line += f": {cost.ratio:.1f} times as long"
    return line if cost.measured_share is None else f"{line} ({cost.measured_share:.0%} of them were trained)"


def usage_lines(usage: ApiUsage) -> list[str]:
    """Tokens, money, and answers that their limit cut short, of a model behind an API."""
    cost = "" if usage.cost is None else f", cost {usage.cost:.4f}"
    guessed = f"; {usage.uncounted:,} answers came without a count and are taken at their most"
    by = f", answered by {', '.join(usage.answered_by)}" if usage.answered_by else ""
    lines = [
        f"{usage.model} at {usage.api_base}{by}: {usage.prompt_tokens:,} prompt tokens, "
        f"{usage.answer_tokens:,} answer tokens{cost}{guessed if usage.uncounted else ''}"
    ]
    cut = [f"{task} {count}" for task, count in usage.cut_short.items() if count]
    if cut:
        lines.append(
            f"answers that reached their limit of tokens: {', '.join(cut)}. --max-tokens gives them more room"
        )
    return lines
