"""The page's part for a study: what to train together, how sure that is, what predicted it, and every arm."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from multitune.reporting import charts
from multitune.reporting.arms import arms_section
from multitune.reporting.blocks import (
    TONES,
    Block,
    Builder,
    Cell,
    Chart,
    Charts,
    Facts,
    Part,
    Section,
    Sheet,
    Table,
    Text,
    guarded,
    header,
)
from multitune.reporting.facts import part
from multitune.reporting.figures import (
    DASH,
    chance,
    count,
    interval,
    lasting,
    listed,
    percent,
    score,
    signed,
)

FINDINGS, SETTINGS = "findings.json", "study.yaml"
PARTS = {
    "sentence": "the verdict",
    "recommended": "the recommended grouping",
    "helps": "who helps whom",
    "synergy": "the synergy",
    "ladder": "the ladder of predictions",
    "predictions": "predicted against measured",
    "arms": "the arms",
    "cost": "the cost",
}
FULL_POINTS = 10.0  # the difference in points that has a heat map's full colour


def is_study(path: Path) -> bool:
    """Whether a folder holds a study."""
    return (path / FINDINGS).is_file() or (path / SETTINGS).is_file()


def study_part(path: Path, id: str) -> Part:
    """Read a study's folder and lay it out; what is not there yet is named."""
    missing: list[str] = []
    remedy = "the study has no findings yet" if not (path / FINDINGS).is_file() else "its findings cannot be read"
    found = part(path / FINDINGS, path, missing, remedy)
    if found:
        for key, what in PARTS.items():
            if not found.get(key):
                missing.append(f"{FINDINGS}: {what} ({key}) is not there; the study may still be going on")
    builder = Builder(missing)
    makers: dict[str, Callable[[], Section | None]] = {
        "recommended": lambda: _recommended(found, id),
        "helps": lambda: _helps(found, id),
        "synergy": lambda: _synergy(found, id),
        "ladder": lambda: _ladder(found, id),
        "arms": lambda: arms_section(found, id),
        "cost": lambda: _cost(found, id),
    }
    for key, make in makers.items():
        builder.add(guarded(PARTS[key], make, missing))
    builder.add(guarded("how it was made", lambda: _made(path, missing, id), missing))
    asked = guarded("the answers on top", lambda: _questions(found), missing)
    arms = found.get("arms") or []
    tasks = found.get("tasks") or {}
    return Part(
        id=id,
        kind="study",
        name=str(found.get("study") or path.resolve().name),
        verdict=str(found.get("sentence") or "The study has no verdict yet."),
        answers=asked or [],
        sections=builder.sections,
        missing=list(dict.fromkeys(missing)),
        about=f"Study of {len(tasks)} tasks in {len(arms)} arms",
    )


def _questions(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The reader's questions as far as the findings answer them."""
    said: list[tuple[str, str]] = []
    best, cost = found.get("recommended") or {}, found.get("cost") or {}
    if best.get("groups"):
        said.append(("What to train together?", f"{_groups(best['groups'])}. {best.get('why') or ''}".strip()))
    tasks = {name: row for name, row in (best.get("tasks") or {}).items() if row.get("verdict")}
    if tasks:
        by = {verdict: [name for name, row in tasks.items() if row["verdict"] == verdict] for verdict in TONES}
        words = [f"{verdict}: {listed(names)}" for verdict, names in by.items() if names]
        said.append(("What does it do to each task?", f"{'; '.join(words).capitalize()}."))
    rungs = [row for row in found.get("ladder") or [] if row.get("rank_correlation") is not None]
    if rungs:
        row = max(rungs, key=lambda row: row["rank_correlation"])
        said.append(
            (
                "Could it have been predicted?",
                f"Best by {row['rung']}: rank correlation {score(row['rank_correlation'])} with {row['against']} on "
                f"{count(row.get('pairs'))} pairs.",
            )
        )
    if cost.get("ratio") is not None:
        text = f"{percent(cost['ratio'])} of training every combination"
        said.append(("What did it take?", f"{text}: {lasting(cost.get('spent_seconds'))}."))
    return said


def _groups(groups: Sequence[Sequence[str]]) -> str:
    together = [" + ".join(group) for group in groups if len(group) > 1]
    alone = [group[0] for group in groups if len(group) == 1]
    return "; ".join([*together, *([f"alone: {listed(alone)}"] if alone else [])])


def _recommended(found: dict[str, Any], id: str) -> Section | None:
    best = found.get("recommended")
    if not best:
        return None
    blocks: list[Block] = []
    tasks: dict[str, Any] = best.get("tasks") or {}
    if best.get("groups"):
        blocks.append(Facts([(f"Group {n}", listed(group, 30)) for n, group in enumerate(best["groups"], start=1)]))
    if tasks:
        rows = [_task_row(name, row) for name, row in tasks.items()]
        columns = [*header("task", "trained with", "metric"), *header(numbers=["rows", "alone", "together", "predicted"])]
        columns += [*header(numbers=["difference", "interval", "p"]), *header("verdict")]
        blocks.append(Table(f"{id}-recommended", "What the recommended grouping does to each task", columns, rows))
        lines = [
            charts.Line(name, row["difference"], row.get("low"), row.get("high"), row.get("verdict") or "cannot tell")
            for name, row in tasks.items()
            if row.get("difference") is not None
        ]
        if lines:
            blocks.append(Charts([_forest("differences", lines, "score, together − alone", f"{id} recommended")]))
    lead = str(best.get("why") or "")
    return Section(f"{id}-recommended", "What to train together", lead, blocks)


def _task_row(name: str, row: dict[str, Any]) -> list[Cell]:
    partners = [task for task in row.get("group") or () if task != name]
    change = row.get("difference")
    return [
        Cell(name),
        Cell(listed(partners, 8) or "itself alone"),
        Cell(str(row.get("metric") or ""), tone="quiet"),
        _cell(row.get("examples"), count(row.get("examples"))),
        *(_cell(row.get(key), score(row.get(key))) for key in ("alone", "together")),
        _cell(row.get("predicted"), signed(row.get("predicted"), 1)),
        _cell(change, signed(change)),
        Cell(interval(row), tone="quiet"),
        _cell(row.get("p_holm"), chance(row.get("p_holm"))),
        Cell(str(row.get("verdict") or DASH), tone=TONES.get(row.get("verdict"), "")),
    ]


def _cell(value: Any, text: str) -> Cell:
    return Cell(text, value=DASH if value is None else value)


def _forest(name: str, lines: Sequence[charts.Line], unit: str, key: str) -> Chart:
    return Chart(
        title="Differences with intervals",
        svg=charts.forest(lines, unit, key),
        label=charts.seen(lines, "Differences with intervals"),
        sheet=Sheet(name, ["row", "difference", "low", "high", "verdict"], charts.rows_of(lines)),
        narrow=charts.forest(lines, unit, key, wide=False),
    )


def _helps(found: dict[str, Any], id: str) -> Section | None:
    helps = found.get("helps")
    if not helps:
        return None
    tasks: list[str] = helps["tasks"]
    rows: list[list[Cell]] = []
    numbers: list[list[Any]] = []
    for place, task in enumerate(tasks):
        cells = [Cell(task)]
        for at, other in enumerate(tasks):
            points, low, high, verdict = (_at(helps.get(key), place, at) for key in ("points", "low", "high", "verdict"))
            strength = None if points is None or place == at else max(-1.0, min(1.0, points / FULL_POINTS))
            mark = {"helped": " ▲", "hurt": " ▼"}.get(str(verdict), "")
            text = "" if place == at else signed(points, 1) + mark
            cells.append(Cell(text, value=DASH if points is None else points, tone=TONES.get(verdict, ""), strength=strength))
            if place != at:
                numbers.append([task, other, points, low, high, verdict])
        rows.append(cells)
    columns = [*header("task"), *header(numbers=[f"with {task}" for task in tasks])]
    full = Sheet("helps", ["task", "with", "points", "low", "high", "verdict"], numbers)
    caption = "Points that a row's task gains when trained with a column's task"
    table = Table(f"{id}-helps", caption, columns, rows, heat=True, full=full)
    lead = (
        "Against the row's task alone at equal passes, on the rows that choose. ▲ helped and ▼ hurt beyond what chance "
        "explains; without a mark it cannot be told. Blue gains, orange loses, in full colour from 10 points on."
    )
    return Section(f"{id}-helps", "Who helps whom", lead, [table])


def _at(matrix: Any, row: int, column: int) -> Any:
    return None if matrix is None else matrix[row][column]


def _synergy(found: dict[str, Any], id: str) -> Section | None:
    synergy = found.get("synergy") or {}
    blocks: list[Block] = []
    if groups := synergy.get("groups"):
        lines = [
            charts.Line(str(row.get("name") or " + ".join(row["tasks"])), row["effect"], row.get("low"), row.get("high"), _side(row))
            for row in groups
        ]
        blocks.append(Charts([_forest("synergy-groups", lines, "points beyond the pairs", f"{id} synergy")]))
        cells = [
            [Cell(line.label), Cell(listed(row["tasks"], 8)), _cell(line.difference, signed(line.difference, 2))]
            + [Cell(interval(row, 2), tone="quiet"), _cell(row.get("combinations"), count(row.get("combinations")))]
            for line, row in zip(lines, groups, strict=True)
        ]
        columns = [*header("group", "tasks"), *header(numbers=["effect, points", "interval", "combinations"])]
        blocks.append(Table(f"{id}-synergy-groups", "Effect of named groups", columns, cells))
    for key, caption in (("pairs", "Effect of pairs on a task"), ("higher", "Effects beyond pairs")):
        if rows := synergy.get(key):
            cells = [
                [Cell(" + ".join(row["tasks"])), Cell(row["task"]), _cell(row["effect"], signed(row["effect"], 2))]
                + [_cell(row.get("combinations"), count(row.get("combinations")))]
                for row in sorted(rows, key=lambda row: -abs(row["effect"] or 0.0))
            ]
            columns = [*header("tasks", "effect on"), *header(numbers=["points", "combinations"])]
            blocks.append(Table(f"{id}-synergy-{key}", caption, columns, cells, sortable=True))
    lead = "What a combination does beyond the sum of its parts, averaged over the combinations that hold it."
    return Section(f"{id}-synergy", "Synergy", lead, blocks) if blocks else None


def _side(row: dict[str, Any]) -> str:
    """What the interval says by itself; it is not adjusted."""
    low, high = row.get("low"), row.get("high")
    return "helped" if low is not None and low > 0 else "hurt" if high is not None and high < 0 else "cannot tell"


def _ladder(found: dict[str, Any], id: str) -> Section | None:
    """How well each rung predicted the one it is held against, and the points behind it."""
    blocks: list[Block] = []
    if rungs := found.get("ladder"):
        rows = [
            [
                Cell(str(row["rung"])),
                Cell(str(row.get("against") or "")),
                _cell(row.get("rank_correlation"), signed(row.get("rank_correlation"), 2)),
                Cell(interval(row, 2), tone="quiet"),
                _cell(row.get("regret"), signed(row.get("regret"), 2)),
                _cell(row.get("pairs"), count(row.get("pairs"))),
                _cell(row.get("seconds"), lasting(row.get("seconds"))),
            ]
            for row in rungs
        ]
        numbers = ["rank correlation", "interval", "regret, points", "pairs", "time"]
        columns = [*header("rung", "held against"), *header(numbers=numbers)]
        blocks.append(Table(f"{id}-ladder", "Rungs, from cheap to dear", columns, rows))
    by_rung: dict[str, list[dict[str, Any]]] = {}
    for row in found.get("predictions") or []:
        if row.get("predicted") is not None and row.get("measured") is not None:
            by_rung.setdefault(str(row["rung"]), []).append(row)
    pictures = [_scatter(rung, rows, id) for rung, rows in by_rung.items()]
    if pictures:
        blocks.append(Charts(pictures))
    lead = "Each rung foretells what tasks do to each other; regret is what its best choice loses against the best there was."
    return Section(f"{id}-ladder", "Predicted and measured", lead, blocks) if blocks else None


def _scatter(rung: str, rows: Sequence[dict[str, Any]], id: str) -> Chart:
    points = [(float(row["predicted"]), float(row["measured"])) for row in rows]
    agree = sum((a > 0) == (b > 0) for a, b in points)
    sheet = [[" + ".join(row.get("tasks") or ()), row.get("task"), row["predicted"], row["measured"]] for row in rows]
    return Chart(
        title=rung,
        svg=charts.against(points, ("predicted", "measured, points"), f"{id} {rung}"),
        label=f"Measured over predicted by {rung}: {len(points)} points, {agree} of them of the same sign.",
        sheet=Sheet(f"predicted-{rung}", ["tasks", "task", "predicted", "measured"], sheet),
    )


def _cost(found: dict[str, Any], id: str) -> Section | None:
    cost = found.get("cost")
    if not cost:
        return None
    blocks: list[Block] = []
    for key, shown, what in (("tokens", count, "Tokens trained on"), ("seconds", lasting, "Time")):
        spent, everything = cost.get(f"spent_{key}"), cost.get(f"everything_{key}")
        if spent is not None and everything:
            bars = [("spent", float(spent), shown(spent)), ("every combination", float(everything), shown(everything))]
            sheet = Sheet(f"cost-{key}", ["what", key], [["spent", spent], ["every combination", everything]])
            label = f"{what}: {shown(spent)} spent, {shown(everything)} for every combination."
            blocks.append(Charts([Chart(what, charts.sizes(bars, f"{id} {key}"), label, sheet)]))
    ratio = cost.get("ratio")
    lead = "" if ratio is None else f"The study took {percent(ratio, 1)} of what training every combination would take."
    return Section(f"{id}-cost", "What it cost", lead, blocks)


def _made(path: Path, missing: list[str], id: str) -> Section | None:
    versions = part(path / "versions.json", path, missing, "what the study was made with is not known")
    packages = versions.get("packages") or {}
    blocks: list[Block] = []
    if packages:
        named = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
        blocks.append(Facts([("Made with", f"{named}, Python {versions.get('python', '')}")]))
    settings = path / SETTINGS
    if settings.is_file():
        blocks.append(Text(settings.read_text("utf-8", errors="replace"), title="The study file as resolved", kind="code"))
    else:
        missing.append(f"{SETTINGS} is missing: the study's settings are not known")
    lead = f"Everything on this page was read from {path}; nothing was computed again from weights."
    return Section(f"{id}-made", "How it was made", lead, blocks)
