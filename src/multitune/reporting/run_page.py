"""The page's part for one run: verdict, answers, and its sections in the order of a reader's questions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from multitune.reporting import charts
from multitune.reporting.blocks import (
    TONES,
    Block,
    Builder,
    Cell,
    Chart,
    Charts,
    Part,
    Section,
    Sheet,
    Table,
    guarded,
    header,
)
from multitune.reporting.comparison_page import rivals_section
from multitune.reporting.examples_page import answers_section
from multitune.reporting.facts import BASE, RunFacts, read_run
from multitune.reporting.formatting import DASH, chance, count, interval, percent, score, signed
from multitune.reporting.provenance import cost_section, making_section
from multitune.reporting.routing_page import routing_section
from multitune.reporting.training_curves import curves, spent
from multitune.reporting.training_page import curves_section, shares_section
from multitune.reporting.verdict import questions, verdict

STRONGEST = 0.2  # the difference that has a heat map's full colour


def run_part(path: Path, id: str) -> Part:
    """Read a run folder and lay it out.

    Raises:
        RunFolderError: there is no run in this folder.
    """
    facts = read_run(path)
    builder = Builder(facts.missing)
    makers: dict[str, Callable[[], Section | None]] = {
        "the scores": lambda: scores_section(facts, id),
        "what adapters do on each other's tasks": lambda: matrix_section(facts, id),
        "the comparison with other models": lambda: rivals_section(facts, id),
        "what was kept": lambda: kept_section(facts, id),
        "the routing": lambda: routing_section(facts, id),
        "the loss curves": lambda: curves_section(facts, id),
        "the shares": lambda: shares_section(facts, id),
        "the answers": lambda: answers_section(facts, id),
        "the costs": lambda: cost_section(facts, id),
        "how it was made": lambda: making_section(facts, id),
    }
    for what, make in makers.items():
        builder.add(guarded(what, make, facts.missing))
    lines = guarded("the curves", lambda: curves(facts.events, facts.selection), []) or []
    sums = guarded("the sums", lambda: spent(facts.events), [])
    asked = guarded("the answers on top", lambda: questions(facts, lines, sums) if sums else [], facts.missing)
    return Part(
        id=id,
        kind="run",
        name=facts.name,
        verdict=guarded("the verdict", lambda: verdict(facts), facts.missing) or "There is no verdict.",
        answers=asked or [],
        sections=builder.sections,
        missing=list(dict.fromkeys(facts.missing)),
        about=_about(facts),
    )


def _about(facts: RunFacts) -> str:
    when = f", {facts.written:%d %B %Y, %H:%M}" if facts.written else ""
    base = f" on {facts.config['base']}" if facts.config.get("base") else ""
    return f"{len(facts.tasks)} {'task' if len(facts.tasks) == 1 else 'tasks'}{base}{when}"


def scores_section(facts: RunFacts, id: str) -> Section | None:
    """The table per task, and the forest plot of each compared adapter."""
    if not facts.transfer:
        return None
    blocks: list[Block] = [_scores_table(facts, id)]
    for name in facts.transfer:
        rows = facts.rows(name)
        lines = [charts.Line(r["task"], r["difference"], r["low"], r["high"], r["verdict"]) for r in rows]
        against = sorted({row["against"] for row in rows})
        axis = f"difference in score, {name} − {' or '.join(against)}"
        chart = Chart(
            title=f"{name} against {' or '.join(against)}",
            svg=charts.forest(lines, axis, f"{id} {name}"),
            label=charts.seen(lines, f"Differences of {name} with intervals"),
            sheet=Sheet(
                f"differences-{name}", ["task", "difference", "low", "high", "verdict"], charts.rows_of(lines)
            ),
            narrow=charts.forest(lines, axis, f"{id} {name}", wide=False),
        )
        blocks.append(Charts([chart]))
    lead = (
        f"Scores on {facts.split} rows that neither training nor any choice has seen. Difference: together − alone, "
        f"or − base where no adapter learned the task alone; {percent(facts.scores['confidence'])} interval from "
        f"{facts.scores['resamples']:,} resamples; p adjusted for the number of tasks (Holm). A filled point is a "
        "verdict, a hollow one cannot be told from chance."
    )
    return Section(f"{id}-scores", "Task by task", lead, blocks)


def _scores_table(facts: RunFacts, id: str) -> Table:
    several = len(facts.transfer) > 1
    strangers, rivals = _strangers(facts), [str(held["subject"]) for held in facts.comparisons]
    routed = (facts.router.get("tasks") or {}) if facts.router else {}
    columns = header(
        *(["task", "adapter"] if several else ["task"]),
        "metric",
        numbers=["rows", "base", "alone", "together", *(["routed"] if routed else []), *strangers, *rivals],
    )
    columns += [*header(numbers=["difference", "interval", "p"]), *header("verdict")]
    rows: list[list[Cell]] = []
    for name in facts.transfer:
        for row in facts.rows(name):
            task, measured = row["task"], facts.scores["tasks"][row["task"]]["scores"]
            cells = [Cell(task), *([Cell(name)] if several else []), Cell(row["metric"], tone="quiet")]
            cells += [_number(row["examples"], count), *(_number(row[key]) for key in ("base", "alone", "together"))]
            if routed:
                cells.append(_number(routed[task]["scores"]["routed"] if task in routed else None))
            cells += [_number((measured.get(other) or {}).get("score")) for other in strangers]
            cells += [_number(_theirs(held, facts, row)) for held in facts.comparisons]
            cells += [
                _number(row["difference"], signed),
                Cell(interval(row), tone="quiet"),
                _number(row["p_holm"], chance),
            ]
            rows.append([*cells, Cell(row["verdict"], tone=TONES.get(row["verdict"], ""))])
    return Table(f"{id}-scores", f"Every task's score on {facts.split} rows", columns, rows)


def _strangers(facts: RunFacts) -> list[str]:
    """Subjects with scores that the run did not train, such as a model behind an API."""
    trained = {
        *facts.selection,
        *facts.transfer,
        BASE,
        *(r["reference"] for n in facts.transfer for r in facts.rows(n)),
    }
    asked = [subject for task in facts.scores["tasks"].values() for subject in task["scores"]]
    # Without selection.json adapters and strangers cannot be told apart.
    return [name for name in dict.fromkeys(asked) if name not in trained] if facts.selection else []


def _theirs(held: Mapping[str, Any], facts: RunFacts, row: Mapping[str, Any]) -> float | None:
    """What another model scored on the rows of this table's row, as the task reads; None where it had other rows."""
    rows = held["readings"]["strict"]["tasks"] if held.get("split") == facts.split else ()
    return next((r["theirs"] for r in rows if (r["task"], r["examples"]) == (row["task"], row["examples"])), None)


def _number(value: float | None, shown: Callable[[float | None], str] = score) -> Cell:
    return Cell(shown(value), value=DASH if value is None else value)


def matrix_section(facts: RunFacts, id: str) -> Section | None:
    """Every subject's score on every task that it answered, coloured by the difference to the base."""
    measured: Mapping[str, Any] = facts.scores.get("tasks") or {}
    subjects = list(dict.fromkeys(s for task in measured.values() for s in task["scores"] if s != BASE))
    answered = {s: [t for t, task in measured.items() if s in task["scores"]] for s in subjects}
    crowded = any(len(task["scores"]) > 3 for task in measured.values())  # base, alone and together stand above
    if sum(len(tasks) > 1 for tasks in answered.values()) < 2 and not crowded:
        return None
    rows: list[list[Cell]] = []
    for subject in subjects:
        cells = [Cell(subject)]
        for task in measured.values():
            mine, base = ((task["scores"].get(who) or {}).get("score") for who in (subject, BASE))
            change = None if mine is None or base is None else mine - base
            strength = None if change is None else max(-1.0, min(1.0, change / STRONGEST))
            cells.append(Cell(score(mine), value=DASH if mine is None else mine, strength=strength))
        rows.append(cells)
    columns = [*header("adapter"), *header(numbers=list(measured))]
    table = Table(f"{id}-matrix", "Scores of adapters (rows) on tasks (columns)", columns, rows, heat=True)
    lead = (
        "Blue is better than the base, orange worse, in full colour from 20 points on. A dash: this adapter was not "
        "asked for this task, since its recipe does not hold it."
    )
    return Section(f"{id}-matrix", "Adapters on tasks", lead, [table])


def kept_section(facts: RunFacts, id: str) -> Section | None:
    """Retention sets and general data, before and after."""
    kept, general = facts.scores.get("retention") or {}, facts.scores.get("general") or {}
    blocks: list[Block] = []
    if kept:
        rows, lines = [], []
        for name, row in kept.items():
            for adapter, change in row["change"].items():
                before, after = row["scores"][BASE]["score"], row["scores"][adapter]["score"]
                cells = [Cell(name), Cell(adapter), Cell(row["metric"], tone="quiet"), _number(row["examples"], count)]
                cells += [
                    _number(before),
                    _number(after),
                    _number(change["difference"], signed),
                    Cell(interval(change)),
                ]
                rows.append([*cells, _number(change["p"], chance)])
                side = "hurt" if change["high"] < 0 else "helped" if change["low"] > 0 else "cannot tell"
                label = f"{name}, {adapter}" if len(row["change"]) > 1 else name
                lines.append(charts.Line(label, change["difference"], change["low"], change["high"], side))
        columns = [*header("set", "adapter", "metric"), *header(numbers=["rows", "before", "after"])]
        columns += header(numbers=["difference", "interval", "p"])
        blocks.append(Table(f"{id}-kept", "Sets that nothing trained on, before and after", columns, rows))
        sheet = Sheet("kept", ["set", "difference", "low", "high", "interval says"], charts.rows_of(lines))
        wide, narrow = (
            charts.forest(lines, "difference in score, after − before", f"{id} kept", wide=w) for w in (True, False)
        )
        blocks.append(Charts([Chart("Kept", wide, charts.seen(lines, "Change on retention sets"), sheet, narrow)]))
    if general:
        rows = [
            [
                Cell(name),
                Cell(subject),
                _number(row["examples"], count),
                _number(row["loss"].get(BASE)),
                _number(loss),
                _number(loss - row["loss"][BASE], signed),
            ]
            for name, row in general.items()
            for subject, loss in row["loss"].items()
            if subject != BASE
        ]
        columns = [*header("set", "adapter"), *header(numbers=["rows", "loss before", "loss after", "change"])]
        blocks.append(
            Table(f"{id}-general", "Loss on general data, in nats per answer token; lower is better", columns, rows)
        )
    lead = "Whether the model still knows what the base knew."
    if kept:
        lead += " Intervals here are not adjusted for the number of sets."
    return Section(f"{id}-kept", "What was kept", lead, blocks) if blocks else None
