"""Tables of scores: what training together did to each task, and what was kept of the base."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from multitune.core.bases import BASE
from multitune.core.results.scores import UNDECIDED, Budget, RetentionScores, Scores, TransferRow
from multitune.reporting.blocks import TONES, Cell, Sheet, Table, header, number
from multitune.reporting.formatting import chance, count, score, side, signed, span

BUDGETS: Mapping[Budget, str] = MappingProxyType(
    {
        "convergence": "trained like together until its own validation stopped gaining",
        "equal_passes": "as many passes over its rows as together",
        "equal_steps": "as many optimizer steps as together",
    }
)
More = Mapping[str, Callable[[TransferRow], float | None]]  # title of a further column of scores -> its value


def transfer_table(
    scores: Scores, adapters: Sequence[str] | None = None, *, id: str = "", more: More = MappingProxyType({})
) -> Table:
    """A row per task of each adapter's transfer table; the adapter is named where there are several.

    Args:
        scores: of the run.
        adapters: whose tables; all when None.
        id: in front of the table's name, on a page.
        more: columns of scores behind `together`.
    """
    names = list(scores.transfer if adapters is None else adapters)
    several = len(names) > 1
    rows: list[list[Cell]] = []
    values: list[list[object]] = []
    for name in names:
        for row in scores.transfer[name].tasks:
            head = [Cell(name), Cell(row.task)] if several else [Cell(row.task)]
            cells = [*head, Cell(row.metric, tone="quiet"), number(row.examples, count)]
            cells += [number(value) for value in (row.base, row.alone, row.together)]
            cells += [number(value(row)) for value in more.values()]
            cells += [Cell(span(row), value=row.difference), number(row.p_holm, chance)]
            rows.append([*cells, Cell(verdict_text(row), tone=TONES[row.verdict])])
            values.append([name, row.task, row.metric, row.examples, row.base, row.alone, row.together])
            values[-1] += [value(row) for value in more.values()]
            values[-1] += [row.difference, row.low, row.high, row.p_holm, row.verdict]
    numbers = ["n", "base", "alone", "together", *more, "difference", "p"]
    columns = header(*(["adapter"] if several else []), "task", "metric", numbers, "verdict")
    titles = ["adapter", "task", "metric", "n", "base", "alone", "together", *more]
    sheet = Sheet(f"{id}scores", [*titles, "difference", "low", "high", "p", "verdict"], values)
    return Table(f"{id}scores", f"Every task's score on {scores.split} rows", columns, rows, full=sheet)


def verdict_text(row: TransferRow) -> str:
    """The verdict; where it cannot tell, whether a loss as large as the margin is at least ruled out."""
    return f"{row.verdict}, no worse" if row.verdict in UNDECIDED and row.no_worse else row.verdict


def transfer_note(scores: Scores) -> str:
    """How the differences of a run are to be read, under its table."""
    rows = [row for table in scores.transfer.values() for row in table.tasks]
    seeds = max(row.seeds for row in rows) if rows else 1
    margin = next((row.margin for row in rows if row.margin is not None), None)
    if seeds > 1:
        source = f"interval over {seeds} seeds of training and the {scores.split} rows"
    else:
        source = f"interval from {scores.resamples} resamples of the {scores.split} rows, one seed of training"
    worse = (
        f"; no worse: a loss of {score(margin)} is ruled out by interval and number of rows"
        if margin is not None
        else ""
    )
    compared = any(row.against == "alone" for row in rows)
    alone = f"; alone: {BUDGETS[scores.budget]}" if scores.budget and compared else ""
    return (
        f"difference: together − alone, or − base where no adapter learned the task alone; {scores.confidence:.0%} "
        f"{source}; p adjusted by Holm{worse}{alone}"
    )


def retention_table(sets: Mapping[str, RetentionScores], adapter: str | None = None, *, id: str = "") -> Table:
    """What the base knew before and each compared adapter after, on sets that nothing trained on.

    A set of free text has a second row for its loss, which moves before its score does.
    """
    rows: list[list[Cell]] = []
    for name, kept in sets.items():
        base = kept.scores[BASE]
        head = Cell(name), number(kept.examples, count)
        for subject, change in kept.change.items():
            if adapter not in (None, subject):
                continue
            after = kept.scores[subject]
            cells = [head[0], Cell(kept.metric, tone="quiet"), head[1], number(base.score), Cell(subject)]
            difference = Cell(span(change), value=change.difference, tone=TONES[side(change.low, change.high)])
            rows.append([*cells, number(after.score), difference, number(change.p, chance)])
            if kept.kind == "generate":
                cells = [head[0], Cell("loss", tone="quiet"), head[1], number(base.loss), Cell(subject)]
                rows.append([*cells, number(after.loss), number(after.loss - base.loss, signed), number(None)])
    columns = header("kept", "metric", ["n", "base"], "adapter", ["after", "difference", "p"])
    return Table(f"{id}retention", "Sets that nothing was trained on", columns, rows)


def general_table(scores: Scores, *, id: str = "") -> Table:
    """Loss on general data before and after, in nats per answer token."""
    rows = [
        [
            Cell(name),
            number(kept.examples, count),
            number(kept.loss.get(BASE)),
            Cell(subject),
            number(loss),
            number(loss - kept.loss[BASE], signed),
        ]
        for name, kept in scores.general.items()
        for subject, loss in kept.loss.items()
        if subject != BASE
    ]
    columns = header("set", ["n", "base"], "adapter", ["after", "change"])
    caption = "Loss on general data, in nats per answer token; lower is better"
    return Table(f"{id}general", caption, columns, rows)


def general_line(scores: Scores, name: str, adapter: str | None = None) -> str:
    """One general set in one line: loss before and after."""
    losses = scores.general[name].loss
    base, *after = [
        f"{subject} {score(loss)}" for subject, loss in losses.items() if subject == BASE or adapter in (None, subject)
    ]
    return f"general data, loss on {name} before → after: {base} → {', '.join(after)}"


def matrix_table(scores: Scores, strongest: float, *, id: str = "") -> Table | None:
    """Every adapter's score on every task that it answered, coloured by the difference to the base.

    None where the transfer table says all of it: one adapter of several tasks, beside those alone.
    """
    tasks = scores.tasks
    subjects = list(dict.fromkeys(s for task in tasks.values() for s in task.scores if s != BASE))
    answered = {s: [t for t, task in tasks.items() if s in task.scores] for s in subjects}
    crowded = any(len(task.scores) > 3 for task in tasks.values())  # base, alone and together stand above
    if sum(len(names) > 1 for names in answered.values()) < 2 and not crowded:
        return None
    rows: list[list[Cell]] = []
    for subject in subjects:
        cells = [Cell(subject)]
        for task in tasks.values():
            mine, base = task.scores.get(subject), task.scores.get(BASE)
            strength = None
            if mine is not None and base is not None:
                strength = max(-1.0, min(1.0, (mine.score - base.score) / strongest))
            cells.append(number(mine.score if mine else None, strength=strength))
        rows.append(cells)
    columns = header("adapter", list(tasks))
    return Table(f"{id}matrix", "Scores of adapters (rows) on tasks (columns)", columns, rows, heat=True)
