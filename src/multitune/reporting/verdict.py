"""The answers on top of a run's page: did mixing help, whom did it hurt, what should ship, can I trust it."""

from collections.abc import Mapping, Sequence
from typing import Any

from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import listed, percent, signed
from multitune.reporting.training_curves import Curve, Spent

FEW_ROWS = 100  # an interval on fewer rows is wide


def verdict(facts: RunFacts) -> str:
    """One sentence: what training together did, and what to ship."""
    if not facts.rows():
        return "Nothing was measured yet, so there is no verdict."
    by = by_verdict(facts.rows())
    what, n = _subject(facts), len(facts.rows())
    parts = [f"{what} helped {_counted(by['helped'], n)}" if by["helped"] else f"{what} helped none"]
    parts.append(f"hurt {listed(by['hurt'])}" if by["hurt"] else "hurt none")
    if not by["helped"] and not by["hurt"]:
        parts[-1] += " beyond chance"
    elif by["cannot tell"]:
        parts.append(f"left {_counted(by['cannot tell'], n, names=False)} undecided")
    sentence = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
    ship = shipping(facts)
    return f"{sentence}; ship {ship}." if ship else f"{sentence}."


def by_verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Verdict -> tasks."""
    found: dict[str, list[str]] = {"helped": [], "hurt": [], "cannot tell": []}
    for row in rows:
        found[row["verdict"]].append(row["task"])
    return found


def _subject(facts: RunFacts) -> str:
    """Who was trained, and against whom where that is the base alone."""
    rows = facts.rows()
    several = len({row["adapter"] for row in rows}) > 1
    words = "training each task alone" if several else f"training {len(rows)} tasks together"
    if len(rows) == 1:
        words = f"training {rows[0]['adapter']}"
    if all(row["against"] == "base" for row in rows):
        return f"Against the base, {words}"
    return words[0].upper() + words[1:]


def _counted(tasks: Sequence[str], of: int, names: bool = True) -> str:
    if len(tasks) == of:
        return "all of them" if of > 1 else listed(tasks)
    return f"{len(tasks)} ({listed(tasks)})" if names else str(len(tasks))


def shipping(facts: RunFacts) -> str:
    """What the routing table says to ship, by adapter; empty where there is none."""
    by: dict[str, list[str]] = {}
    for task, row in (facts.table.get("tasks") or {}).items():
        by.setdefault(row["adapter"], []).append(task)
    if len(by) == 1:
        return f"{next(iter(by))} for every task"
    parts = [f"{adapter} for {listed(tasks, 4)}" for adapter, tasks in sorted(by.items(), key=lambda x: -len(x[1]))]
    return ", ".join(parts)


def questions(facts: RunFacts, curves: Sequence[Curve], spent: Spent) -> list[tuple[str, str]]:
    """The four questions of a reader, each with its answer."""
    if not facts.rows():
        return []
    compared = any(row["against"] == "alone" for row in facts.rows())
    return [
        ("Did mixing help?" if compared else "Did training help?", _helped(facts)),
        ("Whom did it hurt?", _hurt(facts)),
        ("What should ship?", _ship(facts)),
        ("Can I trust it?", _trust(facts, curves, spent)),
    ]


def _helped(facts: RunFacts) -> str:
    rows = facts.rows()
    by = by_verdict(rows)
    points, low, high = _mean_points(facts)
    interval = "" if low is None or high is None else f" [{signed(low, 1)}, {signed(high, 1)}]"
    change = f"On average scores moved by {signed(points, 1)} points{interval}"
    reference = "the adapters trained alone" if any(row["against"] == "alone" for row in rows) else "the base"
    if not by["helped"]:
        lead = "Not beyond what chance explains"
        if low is not None and low > 0:
            lead = "No single task beyond what chance explains, but their mean"
        elif high is not None and high < 0:
            lead = "No, and the mean fell by more than chance explains"
        return f"{lead}. {change} against {reference}."
    gains = [f"{row['task']} ({signed(100 * row['difference'], 1)})" for row in rows if row["verdict"] == "helped"]
    return f"Yes, for {listed(gains)}. {change} against {reference}."


def _mean_points(facts: RunFacts) -> tuple[float, float | None, float | None]:
    """Mean over the rows, with its interval where they are of one table and the run knows it."""
    tables = [facts.transfer[name] for name in dict.fromkeys(row["adapter"] for row in facts.rows())]
    if len(tables) == 1:
        summary = tables[0]["summary"]
        return summary["mean_points"], summary.get("points_low"), summary.get("points_high")
    points = sum(table["summary"]["mean_points"] * len(table["tasks"]) for table in tables)
    return points / len(facts.rows()), None, None


def _hurt(facts: RunFacts) -> str:
    rows = facts.rows()
    hurt = [f"{row['task']} ({signed(100 * row['difference'], 1)})" for row in rows if row["verdict"] == "hurt"]
    open_tasks = [row for row in rows if row["verdict"] == "cannot tell"]
    text = f"{listed(hurt)}." if hurt else "No task beyond what chance explains."
    if open_tasks:
        worst = min(open_tasks, key=lambda row: row["low"])
        text += f" Undecided: {listed([row['task'] for row in open_tasks])}"
        if worst["low"] < 0:
            text += f"; a loss of up to {-100 * worst['low']:.1f} points ({worst['task']}) is not ruled out"
        text += "."
    return text + _kept(facts)


def _kept(facts: RunFacts) -> str:
    """One sentence on what the base knew before."""
    kept = facts.scores.get("retention") or {}
    lost = [
        name
        for name, row in kept.items()
        if facts.main in row["change"] and row["change"][facts.main]["high"] < 0  # its whole interval
    ]
    if lost:
        return f" Of what the base knew, {listed(lost)} got worse."
    rises = [
        f"{name} ({signed(row['loss'][facts.main] - row['loss']['base'])} nats)"
        for name, row in (facts.scores.get("general") or {}).items()
        if row["loss"].get(facts.main, 0.0) > row["loss"].get("base", 0.0)
    ]
    return f" Loss on general data rose: {listed(rises)}." if rises else ""


def _ship(facts: RunFacts) -> str:
    if not facts.table.get("tasks"):
        return f"Not decided yet. `multitune select {facts.folder.path}` chooses on validation rows."
    cost = facts.table.get("cost") or {}
    text = shipping(facts)
    text = f"{text[:1].upper()}{text[1:]}, chosen on validation rows."
    if cost:
        text += f" With one backbone that is {percent(cost['ratio'])} of the parameters of a model per task."
    views = facts.router.get("views") or {}
    if "prompt" in views:
        text += f" The router finds the right adapter for {percent(views['prompt']['same_adapter'], 1)} of requests."
    return text


def _trust(facts: RunFacts, curves: Sequence[Curve], spent: Spent) -> str:
    rows = facts.rows()
    fewest = min(rows, key=lambda row: row["examples"])
    confidence = percent(facts.scores.get("confidence") or 0.95)
    text = (
        f"Verdicts need a {confidence} interval without zero and a p, adjusted for {len(rows)} "
        f"{'task' if len(rows) == 1 else 'tasks'}, that agrees. One seed."
    )
    if fewest["examples"] < FEW_ROWS:
        text += f" Few rows: {fewest['task']} has {fewest['examples']}."
    return " ".join([text, *budget(facts, spent), *still_falling(facts, curves)])


def budget(facts: RunFacts, spent: Spent) -> list[str]:
    """Whether the arms had the same number of steps, in one sentence; nothing where it is not known."""
    alone = {row["reference"] for row in facts.rows() if row["against"] == "alone"}
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
    chosen = (facts.selection.get(facts.main) or {}).get("chosen")
    if steps and chosen and chosen == max(steps):
        return ["Its last checkpoint was its best: longer training may still help."]
    return []
