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
    measured,
)
from multitune.reporting.facts import part
from multitune.reporting.formatting import (
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
from multitune.reporting.study_effects import forest_chart, helps_section, ladder_section, synergy_section

MEASURED = "full runs"  # what the dearest rung is held against
FINDINGS, SETTINGS = "findings.json", "study.yaml"
PARTS = {
    "sentence": "the verdict",
    "recommended": "the recommended grouping",
    "comparisons": "the proof",
    "helps": "who helps whom",
    "synergy": "the synergy",
    "ladder": "the ladder of predictions",
    "predictions": "predicted against measured",
    "arms": "the arms",
    "cost": "the cost",
}


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
        "comparisons": lambda: _proof(found, id),
        "helps": lambda: helps_section(found, id),
        "synergy": lambda: synergy_section(found, id),
        "ladder": lambda: ladder_section(found, id),
        "arms": lambda: arms_section(found, id),
        "cost": lambda: _cost(found, id),
    }
    for key, make in makers.items():
        builder.add(guarded(PARTS[key], make, missing))
    builder.add(guarded("how it was made", lambda: _made(path, missing, id), missing))
    asked = guarded("the answers on top", lambda: _questions(found), missing)
    sizes = guarded("its size", lambda: (len(found.get("tasks") or {}), len(found.get("arms") or [])), missing)
    return Part(
        id=id,
        kind="study",
        name=str(found.get("study") or path.resolve().name),
        verdict=str(found.get("sentence") or "The study has no verdict yet."),
        answers=asked or [],
        sections=builder.sections,
        missing=list(dict.fromkeys(missing)),
        about="Study of {} tasks in {} arms".format(*sizes) if sizes else "Study",
    )


def _questions(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The reader's questions as far as the findings answer them."""
    said: list[tuple[str, str]] = []
    best, cost = found.get("recommended") or {}, found.get("cost") or {}
    if best.get("groups"):
        said.append(("What to train together?", f"{_groups(best['groups'])}. {_why(best)}".strip()))
    if longer := list(best.get("longer_alone") or {}):
        said.append(("Who is better off alone?", f"{listed(longer)}, trained as long as their groups."))
    if effects := _effects(found.get("comparisons") or {}):
        said.append(("What does it do to each task?", effects))
    rungs = [row for row in found.get("ladder") or [] if row.get("rank_correlation") is not None]
    rungs = [row for row in rungs if row.get("against") == MEASURED] or rungs
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
        text = f"training every combination would take {cost['ratio']:.1f} times as long"
        said.append(("What did it take?", f"{lasting(cost.get('spent_seconds'))}; {text}."))
    return said


def _effects(comparisons: dict[str, Any]) -> str:
    """Whom the recommended grouping helped and hurt, at each budget of training alone."""
    said: list[str] = []
    for name, table in comparisons.items():
        if not name.startswith("recommended against "):
            continue
        by = {verdict: [row["task"] for row in table["tasks"] if row.get("verdict") == verdict] for verdict in TONES}
        words = [f"{verdict} {listed(names)}" for verdict, names in by.items() if names]
        said.append(f"At {_budget(name)}: {'; '.join(words)}.")
    return " ".join(said)


def _budget(comparison: str) -> str:
    """What each task alone was given: "recommended against equal_steps" says equal steps."""
    return comparison.rpartition(" ")[2].replace("_", " ")


def _why(best: dict[str, Any]) -> str:
    """The reason of the choice as a sentence."""
    why = str(best.get("why") or "")
    return f"Chosen for the {why}." if why.startswith("best ") else why


def _grouped(groups: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """A line per group, and one for the tasks that stay alone."""
    together = [group for group in groups if len(group) > 1]
    alone = [group[0] for group in groups if len(group) == 1]
    said = [(f"Group {n}", listed(group, 30)) for n, group in enumerate(together, start=1)]
    return [*said, *([("Alone", listed(alone, 30))] if alone else [])]


def _longer(best: dict[str, Any]) -> list[tuple[str, str]]:
    """Who would do better alone, trained as long as its group."""
    steps: dict[str, int] = best.get("longer_alone") or {}
    return [(f"Alone, {count(of)} steps", task) for task, of in steps.items()]


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
        blocks.append(Facts([*_grouped(best["groups"]), *_longer(best)]))
    if tasks:
        rows = [_task_row(name, row) for name, row in tasks.items()]
        columns = [
            *header("task", "trained with", "metric"),
            *header(numbers=["rows", "alone", "together", "difference", "interval", "p"]),
            *header("verdict"),
        ]
        budget = _budget(next(iter(found.get("comparisons") or ()), "equal_passes"))
        caption = f"What the recommended grouping does to each task, at {budget}"
        blocks.append(Table(f"{id}-recommended", caption, columns, rows))
        lines = [
            charts.Line(name, row["difference"], row.get("low"), row.get("high"), row.get("verdict") or "cannot tell")
            for name, row in tasks.items()
            if row.get("difference") is not None
        ]
        if lines:
            axis = "difference in score, together − alone"
            blocks.append(Charts([forest_chart("differences", lines, axis, f"{id} recommended")]))
    return Section(f"{id}-recommended", "What to train together", _why(best), blocks)


def _proof(found: dict[str, Any], id: str) -> Section | None:
    """What was compared on rows that chose nothing, and what else was varied."""
    blocks: list[Block] = []
    for number, (name, table) in enumerate((found.get("comparisons") or {}).items(), start=1):
        every = [_task_row(row["task"], row) for row in table["tasks"]]
        columns = [*header("task", "metric"), *header(numbers=["rows", "alone", "together"])]
        columns += [*header(numbers=["difference", "interval", "p"]), *header("verdict")]
        shown = [[row[0], *row[2:]] for row in every]  # without partners
        caption = name.replace("_", " ")
        blocks.append(Table(f"{id}-proof{number}", f"{caption[:1].upper()}{caption[1:]}", columns, shown))
    if variants := found.get("variants"):
        rows = [
            [
                Cell(str(row["schedule"])),
                measured(row.get("general"), percent(row.get("general"))),
                measured(row.get("validation"), score(row.get("validation"))),
                *(
                    measured(len(tasks), count(len(tasks)))
                    for tasks in (row["summary"]["verdicts"][verdict] for verdict in TONES)
                ),
            ]
            for row in variants
        ]
        columns = [*header("schedule"), *header(numbers=["general data", "mean on validation", *TONES])]
        blocks.append(Table(f"{id}-variants", "All tasks together, otherwise mixed", columns, rows))
    split = found.get("reported") or "test"
    lead = f"Measured on {split} rows, which neither training nor the choice of groups has seen; together − alone."
    return Section(f"{id}-proof", "The proof", lead, blocks) if blocks else None


def _task_row(name: str, row: dict[str, Any]) -> list[Cell]:
    partners = [task for task in row.get("group") or () if task != name]
    change = row.get("difference")
    return [
        Cell(name),
        Cell(listed(partners, 8) or "itself alone"),
        Cell(str(row.get("metric") or ""), tone="quiet"),
        measured(row.get("examples"), count(row.get("examples"))),
        *(measured(row.get(key), score(row.get(key))) for key in ("alone", "together")),
        measured(change, signed(change)),
        Cell(interval(row), tone="quiet"),
        measured(row.get("p_holm"), chance(row.get("p_holm"))),
        Cell(str(row.get("verdict") or DASH), tone=TONES.get(row.get("verdict"), "")),
    ]


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
    lead = (
        "" if ratio is None else f"Training every combination would take {ratio:.1f} times as long as this study did."
    )
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
        blocks.append(
            Text(settings.read_text("utf-8", errors="replace"), title="The study file as resolved", kind="code")
        )
    else:
        missing.append(f"{SETTINGS} is missing: the study's settings are not known")
    lead = f"Everything on this page was read from {path}; nothing was computed again from weights."
    return Section(f"{id}-made", "How it was made", lead, blocks)
