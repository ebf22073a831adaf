"""Tables of studies and searches: plans, comparisons, who helps whom, arms and trials."""

from collections.abc import Sequence

from multitune.core.results.scores import GAINED, LOST, UNDECIDED
from multitune.core.results.study import (
    ArmRecord,
    ArmScore,
    Findings,
    Helps,
    StudyPlan,
    StudyRow,
    Synergy,
    TrialsReport,
)
from multitune.reporting.blocks import TONES, Cell, Sheet, Table, header, number
from multitune.reporting.formatting import (
    DASH,
    chance,
    count,
    duration,
    interval,
    listed,
    percent,
    score,
    signed,
    span,
)

FULL_POINTS = 10.0  # the difference in points that has a heat map's full colour
FIELDS = ("key", "name", "general", "schedule", "seed", "budget", "steps", "tokens", "seconds")


def plan_table(plan: StudyPlan) -> Table:
    """What a study would train, part by part, against training every combination."""
    rows: list[list[Cell]] = []
    total = 0.0
    for part in plan.parts:
        total += part.tokens or 0.0
        tokens = "as the budget allows" if part.tokens is None else f"{part.tokens:,.0f}"
        share = "" if part.tokens is None else percent(part.tokens / plan.everything_tokens, 1)
        rows.append([Cell(part.what), Cell(f"{part.arms:,}" if part.arms else ""), Cell(tokens), Cell(share)])
    rows.append([Cell("sum"), Cell(""), Cell(f"{total:,.0f}"), Cell(percent(total / plan.everything_tokens, 1))])
    columns = header("part", ["arms", "tokens", "of everything"])
    return Table("plan", "What would be trained", columns, rows)


def comparison_table(rows: Sequence[StudyRow], caption: str, *, id: str = "comparison") -> Table:
    """A row per task: what it was trained with, and what that did to it."""
    shown: list[list[Cell]] = []
    for row in rows:
        partners = [task for task in row.group if task != row.task]
        cells = [Cell(row.task), Cell(row.metric, tone="quiet"), Cell(listed(partners, 8) or DASH)]
        cells += [number(row.examples, count), *(number(value) for value in (row.base, row.alone, row.together))]
        cells += [Cell(span(row), value=row.difference), number(row.p_holm, chance)]
        shown.append([*cells, Cell(row.verdict, tone=TONES[row.verdict])])
    numbers = ["n", "base", "alone", "together", "difference", "p"]
    columns = header("task", "metric", "trained with", numbers, "verdict")
    return Table(id, caption, columns, shown)


def variants_table(found: Findings, *, id: str = "") -> Table:
    """All tasks together under each schedule and share of general data."""
    rows = [
        [
            Cell(row.schedule),
            number(row.general, percent),
            number(row.validation),
            *(number(row.summary.count(words), count) for words in (GAINED, LOST, UNDECIDED)),
            Cell(row.summary.points_text, value=row.summary.mean_points),
        ]
        for row in found.variants
    ]
    columns = header("schedule", ["general data", "mean on validation", "gained", "lost", "cannot tell", "mean"])
    return Table(f"{id}variants", "All tasks together, otherwise mixed", columns, rows)


def helps_table(helps: Helps, *, id: str = "") -> Table:
    """Who helps whom, as a matrix: points that a row's task gains when trained with a column's."""
    rows: list[list[Cell]] = []
    numbers: list[list[object]] = []
    for place, task in enumerate(helps.tasks):
        cells = [Cell(task)]
        for at, other in enumerate(helps.tasks):
            points = helps.points[place][at]
            low, high = (matrix[place][at] if matrix else None for matrix in (helps.low, helps.high))
            verdict = helps.verdict[place][at] if helps.verdict else None
            strength = None if points is None or place == at else max(-1.0, min(1.0, points / FULL_POINTS))
            mark = " ▲" if verdict in GAINED else " ▼" if verdict in LOST else ""
            text = "" if place == at else signed(points, 1) + mark
            tone = TONES[verdict] if verdict else ""
            cells.append(Cell(text, value=DASH if points is None else points, tone=tone, strength=strength))
            if place != at:
                numbers.append([task, other, points, low, high, verdict])
        rows.append(cells)
    columns = header("task", [f"with {task}" for task in helps.tasks])
    full = Sheet("helps", ["task", "with", "points", "low", "high", "verdict"], numbers)
    caption = "Points that a row's task gains when trained with a column's task"
    return Table(f"{id}helps", caption, columns, rows, heat=True, full=full)


def effect_tables(synergy: Synergy, *, id: str = "") -> list[Table]:
    """What groups, pairs and triples of tasks do."""
    tables: list[Table] = []
    if synergy.groups:
        rows = [
            [
                Cell(effect.name or " + ".join(effect.tasks)),
                Cell(listed(effect.tasks, 8)),
                number(effect.effect, signed, 2),
                Cell(interval(effect.low, effect.high, 2), tone="quiet"),
                number(effect.combinations, count),
            ]
            for effect in synergy.groups
        ]
        columns = header("group", "tasks", ["effect, points", "interval", "combinations"])
        caption = "What related tasks are worth to a group"
        tables.append(Table(f"{id}synergy-groups", caption, columns, rows))
    for key, effects, caption in (
        ("pairs", synergy.pairs, "Mean change of a task when one other joins"),
        ("higher", synergy.higher, "What three tasks do beyond the sum of their pairs"),
    ):
        if effects:
            rows = [
                [
                    Cell(" + ".join(effect.tasks)),
                    Cell(effect.task or ""),
                    number(effect.effect, signed, 2),
                    number(effect.combinations, count),
                ]
                for effect in sorted(effects, key=lambda effect: -abs(effect.effect or 0.0))
            ]
            columns = header("tasks", "effect on", ["points", "combinations"])
            tables.append(Table(f"{id}synergy-{key}", caption, columns, rows, sortable=len(rows) > 8))
    return tables


def arms_table(found: Findings, *, id: str = "") -> Table:
    """Arms as rows: tasks, budget, and the score of every task on the rows that choose; the sheet holds all."""
    tasks = list(found.tasks or dict.fromkeys(task for arm in found.arms for task in arm.tasks))
    rows = [_arm_row(arm, tasks) for arm in found.arms]
    numbers = ["tasks", "general", "seed", "steps", "tokens", "time", *tasks]
    columns = header("arm", "tasks", "budget", "schedule", numbers)
    caption = f"{len(rows)} arms, with scores on validation rows"
    return Table(f"{id}arms", caption, columns, rows, sortable=True, full=_arm_sheet(found.arms, tasks))


def _arm_row(arm: ArmRecord, tasks: Sequence[str]) -> list[Cell]:
    cells = [
        Cell(arm.name or arm.key),
        Cell(listed(arm.tasks, 4), value=" + ".join(arm.tasks), tone="quiet"),
        Cell((arm.budget or DASH).replace("_", " ")),
        Cell(arm.schedule or DASH),
        number(len(arm.tasks), str),
        number(arm.general, percent),
        number(arm.seed, str),
        number(arm.steps, count),
        number(arm.tokens, count),
        number(arm.seconds, duration),
    ]
    scores = [arm.validation.get(task) for task in tasks]
    return [*cells, *(number(one.score if one else None, score) for one in scores)]


def _arm_sheet(arms: Sequence[ArmRecord], tasks: Sequence[str]) -> Sheet:
    """A row per arm, task and split."""
    rows: list[list[object]] = []
    for arm in arms:
        head = [*(getattr(arm, field) for field in FIELDS), " + ".join(arm.tasks)]
        answered: dict[str, dict[str, ArmScore]] = {"validation": arm.validation, "test": arm.test}
        for split, scores in answered.items():
            for task in tasks:
                if one := scores.get(task):
                    rows.append([*head, split, task, one.score, one.loss, one.examples])
    return Sheet("arms", [*FIELDS, "tasks", "split", "task", "score", "loss", "examples"], rows)


def trials_table(report: TrialsReport) -> Table:
    """Trials of a search, best first."""
    sign = -1.0 if report.objective == "metric" else 1.0
    order = {"complete": 0, "pruned": 1, "unfinished": 2, "failed": 3}
    trials = sorted(report.trials, key=lambda trial: (order[trial.state], sign * (trial.value or 0.0)))
    fields = list(trials[0].values) if trials else []
    rows: list[list[Cell]] = []
    for trial in trials:
        cells = [number(trial.number, str)]
        cells.append(number(trial.value, score, 4))
        values = [trial.values[field] for field in fields]
        cells += [number(value, "{:g}".format) for value in values]
        best = trial.number == report.best
        rows.append([*cells, Cell(f"{trial.state}, best" if best else trial.state, tone="helped" if best else "")])
    numbers = ["trial", report.objective, *(field.rpartition(".")[2] for field in fields)]
    return Table("trials", "Trials, best first", header(numbers, "state"), rows)
