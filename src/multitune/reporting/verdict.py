"""The answers on top of a run's page: did mixing help, whom did it hurt, what should ship, can I trust it."""

from collections.abc import Collection, Sequence

from multitune.core.bases import BASE
from multitune.core.results.scores import GAINED, LOST, UNDECIDED, VERDICTS, TransferRow, Verdict
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import interval, listed, percent, signed
from multitune.reporting.training_curves import Curve, Spent

FEW_ROWS = 100  # an interval on fewer rows is wide


def verdict(facts: RunFacts) -> str:
    """One sentence: what training together did, and what to ship."""
    rows = [row for _, row in facts.rows()]
    if not rows:
        return "Nothing was measured yet, so there is no verdict."
    what, n = _subject(facts), len(rows)
    several = max(row.seeds for row in rows) > 1
    gains, losses = ("helped", "hurt") if several else ("was ahead on", "was behind on")
    gained, lost, undecided = (_tasks(rows, words) for words in (GAINED, LOST, UNDECIDED))
    parts = [f"{what} {gains} {_counted(gained, n)}" if gained else f"{what} {gains} none"]
    parts.append(f"{losses} {listed(lost)}" if lost else f"{losses} none")
    if not gained and not lost:
        parts[-1] += " beyond chance"
    elif undecided:
        parts.append(f"left {_counted(undecided, n, names=False)} undecided")
    if not several:
        parts[0] = f"In this run {parts[0][0].lower()}{parts[0][1:]}"
    sentence = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
    ship = shipping(facts)
    return f"{sentence}; ship {ship}." if ship else f"{sentence}."


def by_verdict(rows: Sequence[TransferRow]) -> dict[Verdict, list[str]]:
    """Verdict -> tasks."""
    return {verdict: [row.task for row in rows if row.verdict == verdict] for verdict in VERDICTS}


def _tasks(rows: Sequence[TransferRow], words: Collection[Verdict]) -> list[str]:
    return [row.task for row in rows if row.verdict in words]


def _subject(facts: RunFacts) -> str:
    """Who was trained, and against whom where that is the base alone."""
    rows = facts.rows()
    several = len({adapter for adapter, _ in rows}) > 1
    words = "training each task alone" if several else f"training {len(rows)} tasks together"
    if len(rows) == 1:
        words = f"training {rows[0][0]}"
    if all(row.against == "base" for _, row in rows):
        return f"Against the base, {words}"
    return words[0].upper() + words[1:]


def _counted(tasks: Sequence[str], of: int, names: bool = True) -> str:
    if len(tasks) == of:
        return "all of them" if of > 1 else listed(tasks)
    return f"{len(tasks)} ({listed(tasks)})" if names else str(len(tasks))


def shipping(facts: RunFacts) -> str:
    """What the routing table says to ship, by adapter; empty where there is none."""
    by: dict[str, list[str]] = {}
    for task, adapter in (facts.routing.table.adapters if facts.routing else {}).items():
        by.setdefault(adapter, []).append(task)
    if len(by) == 1:
        return f"{next(iter(by))} for every task"
    parts = [f"{adapter} for {listed(tasks, 4)}" for adapter, tasks in sorted(by.items(), key=lambda x: -len(x[1]))]
    return ", ".join(parts)


def questions(facts: RunFacts, curves: Sequence[Curve], spent: Spent) -> list[tuple[str, str]]:
    """The four questions of a reader, each with its answer."""
    if not facts.rows():
        return []
    compared = any(row.against == "alone" for _, row in facts.rows())
    return [
        ("Did mixing help?" if compared else "Did training help?", _helped(facts)),
        ("Whom did it hurt?", _hurt(facts)),
        ("What should ship?", _ship(facts)),
        ("Can I trust it?", _trust(facts, curves, spent)),
    ]


def _helped(facts: RunFacts) -> str:
    rows = [row for _, row in facts.rows()]
    points, low, high = _mean_points(facts)
    change = f"On average scores moved by {signed(points, 1)} points {interval(low, high, 1)}".rstrip()
    reference = "the adapters trained alone" if any(row.against == "alone" for row in rows) else "the base"
    gains = [f"{row.task} ({signed(100 * row.difference, 1)})" for row in rows if row.verdict in GAINED]
    if not gains:
        lead = "Not beyond what chance explains"
        if low is not None and low > 0:
            lead = "No single task beyond what chance explains, but their mean"
        elif high is not None and high < 0:
            lead = "No, and the mean fell by more than chance explains"
        return f"{lead}. {change} against {reference}."
    sure = "Yes, for" if max(row.seeds for row in rows) > 1 else "In this run, for"
    return f"{sure} {listed(gains)}. {change} against {reference}."


def _mean_points(facts: RunFacts) -> tuple[float, float | None, float | None]:
    """Mean over the rows, with its interval where they are of one table and the run knows it."""
    tables = [facts.transfer[name] for name in dict.fromkeys(adapter for adapter, _ in facts.rows())]
    if len(tables) == 1:
        summary = tables[0].summary
        return summary.mean_points, summary.points_low, summary.points_high
    points = sum(table.summary.mean_points * len(table.tasks) for table in tables)
    return points / len(facts.rows()), None, None


def _hurt(facts: RunFacts) -> str:
    rows = [row for _, row in facts.rows()]
    hurt = [f"{row.task} ({signed(100 * row.difference, 1)})" for row in rows if row.verdict in LOST]
    undecided = [row for row in rows if row.verdict == "cannot tell"]
    text = f"{listed(hurt)}." if hurt else "No task beyond what chance explains."
    if undecided:
        worst = min(undecided, key=lambda row: row.low)
        text += f" Undecided: {listed([row.task for row in undecided])}"
        if worst.low < 0:
            text += f"; a loss of up to {-100 * worst.low:.1f} points ({worst.task}) is not ruled out"
        text += "."
    ruled_out = [row.task for row in rows if row.no_worse]
    margin = next((row.margin for row in rows if row.margin is not None), None)
    if ruled_out and margin is not None:
        tasks = "every task" if len(ruled_out) == len(rows) else listed(ruled_out)
        text += f" A loss of {100 * margin:.0f} points is ruled out on {tasks}."
    return text + _kept(facts)


def _kept(facts: RunFacts) -> str:
    """One sentence on what the base knew before."""
    if not facts.scores:
        return ""
    lost = [
        name
        for name, kept in facts.scores.retention.items()
        if facts.main in kept.change and kept.change[facts.main].high < 0  # its whole interval
    ]
    if lost:
        return f" Of what the base knew, {listed(lost)} got worse."
    rises = [
        f"{name} ({signed(kept.loss[facts.main] - kept.loss[BASE])} nats)"
        for name, kept in facts.scores.general.items()
        if kept.loss.get(facts.main, 0.0) > kept.loss.get(BASE, 0.0)
    ]
    return f" Loss on general data rose: {listed(rises)}." if rises else ""


def _ship(facts: RunFacts) -> str:
    if not facts.routing:
        return f"Not decided yet. `multitune select {facts.folder.path}` chooses on validation rows."
    text = shipping(facts)
    text = f"{text[:1].upper()}{text[1:]}, chosen on validation rows."
    text += (
        f" With one backbone that is {percent(facts.routing.table.cost.ratio)} of the parameters of a model per task."
    )
    report = facts.routing.report
    if report and "prompt" in report.views:
        right = percent(report.views["prompt"].same_adapter, 1)
        text += f" The router finds the right adapter for {right} of requests."
    return text


def _trust(facts: RunFacts, curves: Sequence[Curve], spent: Spent) -> str:
    rows = [row for _, row in facts.rows()]
    fewest = min(rows, key=lambda row: row.examples)
    confidence = percent(facts.scores.confidence if facts.scores else None)
    trained = min(row.seeds for row in rows)
    seeds = f"{trained} seeds, so they count training as chance." if trained > 1 else "One seed."
    text = (
        f"Verdicts need a {confidence} interval without zero and a p, adjusted for {len(rows)} "
        f"{'task' if len(rows) == 1 else 'tasks'}, that agrees. {seeds}"
    )
    if fewest.examples < FEW_ROWS:
        text += f" Few rows: {fewest.task} has {fewest.examples}."
    return " ".join([text, *budget(facts, spent), *still_falling(facts, curves)])


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
