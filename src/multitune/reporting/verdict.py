"""The sentences on top of a run's page: whether one model is enough, and what ships with which task."""

from collections.abc import Collection, Sequence

from multitune.core.records import FEW_ROWS, Split
from multitune.core.results.scores import GAINED, LOST, UNDECIDED, VERDICTS, TransferRow, Verdict
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import listed
from multitune.reporting.training_curves import Curve, Spent


def verdict(facts: RunFacts) -> str:
    """One sentence: is one model enough; where nothing was trained alone, what training did to the base."""
    rows = [row for _, row in facts.rows()]
    if not rows:
        return "Nothing was measured yet, so there is no verdict."
    together = len({adapter for adapter, _ in facts.rows()}) == 1 and len(rows) > 1
    compared = together and any(row.against == "alone" for row in rows)
    sentence = _one_model(facts, rows) if compared else _against_base(facts, rows)
    return f"{sentence}." if several_seeds(rows) else f"In this run {sentence[0].lower()}{sentence[1:]}."


def _one_model(facts: RunFacts, rows: Sequence[TransferRow]) -> str:
    """The answer first, then whom the shared adapter gained and lost."""
    gains, losses = ("helped", "hurt") if several_seeds(rows) else ("ahead on", "behind on")
    gained, lost, undecided = (tasks_with(rows, words) for words in (GAINED, LOST, UNDECIDED))
    parts = [f"{losses} {listed(lost)}"] if lost else []
    parts += [f"{gains} {listed(gained)}"] if gained else []
    parts += [f"undecided on {listed(undecided)}"] if undecided else []
    if lost:
        return f"One model is not enough: {', '.join(parts)}"
    if facts.transfer[facts.main].summary.loses_nothing:
        enough = f"One model is enough for all {len(rows)} tasks: a loss of {_margin(rows)} is ruled out on each"
        return f"{enough}, and it {'' if several_seeds(rows) else 'is '}{parts[0]}" if gained else enough
    if gained:
        return f"One model against {len(rows)}: {', '.join([parts[0], f'{losses} none', *parts[1:]])}"
    return f"Nothing tells one model from {len(rows)} apart: no task is ahead or behind by more than chance explains"


def _against_base(facts: RunFacts, rows: Sequence[TransferRow]) -> str:
    """What training did to the base: each task by its own adapter, or all by one."""
    gains, losses = ("helped", "hurt") if several_seeds(rows) else ("is ahead on", "is behind on")
    gained, lost, undecided = (tasks_with(rows, words) for words in (GAINED, LOST, UNDECIDED))
    alone = len({adapter for adapter, _ in facts.rows()}) > 1
    words = "training each task alone" if alone else f"training {len(rows)} tasks together"
    if len(rows) == 1:
        words = f"training {rows[0].task}" if rows[0].against == "base" else f"{facts.main}"
    against = "the base" if all(row.against == "base" for row in rows) else "the adapters trained alone"
    everyone = "all of them" if len(rows) > 1 else rows[0].task
    parts = [f"{gains} {everyone if len(gained) == len(rows) else listed(gained)}" if gained else ""]
    parts += [f"{losses} {listed(lost)}" if lost else "", f"is undecided on {listed(undecided)}" if undecided else ""]
    return f"Against {against}, {words} {_joined([part for part in parts if part])}"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _margin(rows: Sequence[TransferRow]) -> str:
    margin = next((row.margin for row in rows if row.margin is not None), 0.0)
    return f"{100 * margin:g} points"


def several_seeds(rows: Sequence[TransferRow]) -> bool:
    """Whether verdicts count training as chance."""
    return max(row.seeds for row in rows) > 1


def by_verdict(rows: Sequence[TransferRow]) -> dict[Verdict, list[str]]:
    """Verdict -> tasks."""
    return {verdict: [row.task for row in rows if row.verdict == verdict] for verdict in VERDICTS}


def tasks_with(rows: Sequence[TransferRow], words: Collection[Verdict]) -> list[str]:
    """Tasks with any of some verdicts."""
    return [row.task for row in rows if row.verdict in words]


def shipping(facts: RunFacts) -> str:
    """One sentence on what ships, with the tasks whose rows are too few to ship on; empty where nothing was chosen."""
    if not facts.routing:
        return ""
    by: dict[str, list[str]] = {}
    for task, adapter in facts.routing.table.adapters.items():
        by.setdefault("" if adapter == task else adapter, []).append(task)
    if own := by.pop("", []):
        by["its own adapter" if len(own) == 1 else "their own adapters"] = own
    parts = [f"{adapter} for {listed(tasks, 4)}" for adapter, tasks in sorted(by.items(), key=lambda x: -len(x[1]))]
    what = f"{next(iter(by))} for every task" if len(by) == 1 else "; ".join(parts)
    few = [task for task in facts.routing.table.tasks if too_few(facts, task)]
    if len(few) == len(facts.routing.table.tasks):
        return f"Too few rows to ship on yet. Chosen so far: {what}."
    return f"Ship {what}." + (f" Too few rows to ship on: {listed(few)}." if few else "")


def too_few(facts: RunFacts, task: str) -> str:
    """The splits of which a task has too few rows to ship on, with their numbers; empty where it has enough."""
    choice = facts.routing.table.tasks.get(task) if facts.routing else None
    rows: dict[Split, int] = {"validation": choice.examples} if choice else {}
    scored = next((row.examples for _, row in facts.rows() if row.task == task), None)
    if scored is not None and facts.split == "test":
        rows["test"] = scored
    return ", ".join(f"{n} {split}" for split, n in rows.items() if n < FEW_ROWS[split])


def budget(facts: RunFacts, spent: Spent) -> list[str]:
    """Whether the arms had the same number of steps, in one sentence; nothing where it is not known."""
    alone = {row.reference for _, row in facts.rows() if row.against == "alone"}
    steps = spent.adapter_steps
    if not alone or facts.main not in steps or not alone <= steps.keys():
        return []
    least, most, mine = min(steps[name] for name in alone), max(steps[name] for name in alone), steps[facts.main]
    if least == most == mine:
        return ["All arms took the same number of steps."]
    spread = f"{least}" if least == most else f"{least} to {most}"
    return [
        f"{facts.main} took {mine} steps, the ones alone {spread}: part of a gain may be that it moved more often."
    ]


def still_falling(facts: RunFacts, curves: Sequence[Curve]) -> list[str]:
    """Whether the main adapter's best checkpoint was its last, so that more training might help."""
    steps = [p[0] for curve in curves if curve.adapter == facts.main for p in curve.validation]
    kept = facts.selection.adapters.get(facts.main) if facts.selection else None
    if steps and kept and kept.chosen == max(steps):
        return ["Its last checkpoint was its best: longer training may still help."]
    return []
