"""The page's part for a study: what to train together, how sure that is, and every arm."""

from collections.abc import Sequence
from pathlib import Path

from multitune.config.load import config_text
from multitune.core.errors import InputError
from multitune.core.results.run import Versions
from multitune.core.results.study import Findings, Recommendation, StudyComparison
from multitune.core.run_folder import StudyFolder
from multitune.core.text import without_passwords
from multitune.reporting import charts
from multitune.reporting.blocks import Block, Chart, Charts, Facts, KeyFigure, Part, Section, Sheet, Text
from multitune.reporting.facts import part
from multitune.reporting.formatting import count, duration, listed, side
from multitune.reporting.tables.study import (
    arms_table,
    comparison_table,
    effect_tables,
    helps_table,
    variants_table,
)
from multitune.reporting.verdict import by_verdict

PARTS = {
    "sentence": "the verdict",
    "recommended": "the recommended grouping",
    "comparisons": "the comparisons on test",
    "helps": "who helps whom",
    "synergy": "the synergy",
    "arms": "the arms",
    "cost": "the cost",
}


def is_study(path: Path) -> bool:
    """Whether a folder holds a study."""
    folder = StudyFolder(path)
    return folder.findings.is_file() or folder.config.is_file()


def study_part(path: Path, id: str) -> Part:
    """Read a study's folder and lay it out; what is not there yet is named."""
    missing: list[str] = []
    folder = StudyFolder(path)
    remedy = "its findings cannot be read" if folder.findings.is_file() else "the study has no findings yet"
    read = part(Findings, folder.findings, path, missing, remedy)
    found = read or Findings(study=path.resolve().name)
    if read:
        empty = Findings(study="")
        for key, what in PARTS.items():
            if getattr(found, key) == getattr(empty, key):
                name = folder.findings.name
                missing.append(f"{name}: {what} ({key}) is not there; the study may still be going on")
    makers = (_recommended, _comparisons, _helps, _synergy, _arms, _cost)
    made = [*(make(found, id) for make in makers), _provenance(folder, missing, id)]
    return Part(
        id=id,
        kind="study",
        name=found.study,
        verdict=found.sentence or "The study has no verdict yet.",
        figures=[KeyFigure(question, "", line) for question, line in _questions(found)],
        sections=[section for section in made if section and section.blocks],
        missing=list(dict.fromkeys(missing)),
        about=f"Study of {len(found.tasks)} tasks in {len(found.arms)} arms",
    )


def _questions(found: Findings) -> list[tuple[str, str]]:
    """The reader's questions as far as the findings answer them."""
    answers: list[tuple[str, str]] = []
    best, cost = found.recommended, found.cost
    if best and best.groups:
        answers.append(("What to train together?", f"{_groups(best.groups)}. {_why(best)}".strip()))
    if best and best.longer_alone:
        answers.append(
            ("Who is better off alone?", f"{listed(list(best.longer_alone))}, trained as long as their groups.")
        )
    if effects := _effects(found.comparisons):
        answers.append(("What does it do to each task?", effects))
    if cost and cost.ratio is not None:
        text = f"training every combination would take {cost.ratio:.1f} times as long"
        answers.append(("What did it take?", f"{duration(cost.spent_seconds)}; {text}."))
    return answers


def _effects(comparisons: dict[str, StudyComparison]) -> str:
    """Whom the recommended grouping helped and hurt, at each budget of training alone."""
    sentences: list[str] = []
    for name, table in comparisons.items():
        if not name.startswith("recommended against "):
            continue
        words = [f"{verdict} {listed(names)}" for verdict, names in by_verdict(table.tasks).items() if names]
        sentences.append(f"At {_budget(name)}: {'; '.join(words)}.")
    return " ".join(sentences)


def _budget(comparison: str) -> str:
    """What each task alone was given: "recommended against equal_steps" means equal steps."""
    return comparison.rpartition(" ")[2].replace("_", " ")


def _why(best: Recommendation) -> str:
    """The reason of the choice as a sentence."""
    return f"Chosen for the {best.why}." if best.why.startswith("best ") else best.why


def _grouped(best: Recommendation) -> list[tuple[str, str]]:
    """A line per group, one for the tasks that stay alone, and who would do better alone for longer."""
    together = [group for group in best.groups if len(group) > 1]
    alone = [group[0] for group in best.groups if len(group) == 1]
    lines = [(f"Group {n}", listed(group, 30)) for n, group in enumerate(together, start=1)]
    lines += [("Alone", listed(alone, 30))] if alone else []
    return [*lines, *((f"Alone, {count(steps)} steps", task) for task, steps in best.longer_alone.items())]


def _groups(groups: Sequence[Sequence[str]]) -> str:
    together = [" + ".join(group) for group in groups if len(group) > 1]
    alone = [group[0] for group in groups if len(group) == 1]
    return "; ".join([*together, *([f"alone: {listed(alone)}"] if alone else [])])


def _recommended(found: Findings, id: str) -> Section | None:
    best = found.recommended
    if not best:
        return None
    blocks: list[Block] = []
    if best.groups:
        blocks.append(Facts(_grouped(best)))
    if best.tasks:
        budget = _budget(next(iter(found.comparisons), "equal_passes"))
        caption = f"What the recommended grouping does to each task, at {budget}"
        blocks.append(comparison_table(list(best.tasks.values()), caption, id=f"{id}-recommended"))
        lines = [charts.Line(n, row.difference, row.low, row.high, row.verdict) for n, row in best.tasks.items()]
        axis = "difference in score, together − alone"
        blocks.append(Charts([_forest("differences", lines, axis, f"{id} recommended")]))
    return Section(f"{id}-recommended", "What to train together", _why(best), blocks)


def _comparisons(found: Findings, id: str) -> Section | None:
    """What was compared on rows that chose nothing, and what else was varied."""
    blocks: list[Block] = []
    for place, (name, table) in enumerate(found.comparisons.items(), start=1):
        caption = name.replace("_", " ")
        blocks.append(comparison_table(table.tasks, f"{caption[:1].upper()}{caption[1:]}", id=f"{id}-proof{place}"))
    if found.variants:
        blocks.append(variants_table(found, id=f"{id}-"))
    lead = (
        f"Measured on {found.reported} rows, which neither training nor the choice of groups has seen; "
        "together − alone."
    )
    return Section(f"{id}-proof", "Compared on test", lead, blocks) if blocks else None


def _helps(found: Findings, id: str) -> Section | None:
    """The matrix of one task with one other, as a heat map."""
    if not found.helps:
        return None
    lead = (
        "Against the row's task alone at equal passes, on the rows that choose. ▲ helped and ▼ hurt beyond what "
        "chance explains; without a mark it may be chance. Blue gains, orange loses, in full colour from 10 points."
    )
    return Section(f"{id}-helps", "Who helps whom", lead, [helps_table(found.helps, id=f"{id}-")])


def _synergy(found: Findings, id: str) -> Section | None:
    """Effects of groups, of pairs, and beyond pairs."""
    blocks: list[Block] = []
    if groups := found.synergy.groups:
        axis = "points with related tasks in the mixture, against without"
        lines = [
            charts.Line(
                row.name or " + ".join(row.tasks), row.effect or 0.0, row.low, row.high, side(row.low, row.high)
            )
            for row in groups
        ]
        blocks.append(Charts([_forest("synergy-groups", lines, axis, f"{id} synergy")]))
    blocks += effect_tables(found.synergy, id=f"{id}-")
    lead = "In points of each task's metric, on the rows that choose, over the combinations that were measured."
    return Section(f"{id}-synergy", "Synergy", lead, blocks) if blocks else None


def _forest(name: str, lines: Sequence[charts.Line], axis: str, key: str) -> Chart:
    title, columns = "Differences with intervals", ("row", *charts.FOREST[1:])
    return charts.forest_chart(title, lines, axis, key, what=title, sheet=name, columns=columns)


def _arms(found: Findings, id: str) -> Section | None:
    if not found.arms:
        return None
    lead = "Choose a column's title to sort by it. The data hold losses, test scores and row counts besides."
    return Section(f"{id}-arms", "Every arm", lead, [arms_table(found, id=f"{id}-")])


def _cost(found: Findings, id: str) -> Section | None:
    cost = found.cost
    if not cost:
        return None
    blocks: list[Block] = []
    for key, shown, what, spent, everything in (
        ("tokens", count, "Tokens trained on", cost.spent_tokens, cost.everything_tokens),
        ("seconds", duration, "Time", cost.spent_seconds, cost.everything_seconds),
    ):
        bars = [("spent", spent, shown(spent)), ("every combination", everything, shown(everything))]
        sheet = Sheet(f"cost-{key}", ["what", key], [["spent", spent], ["every combination", everything]])
        label = f"{what}: {shown(spent)} spent, {shown(everything)} for every combination."
        blocks.append(Charts([Chart(what, charts.sizes(bars, f"{id} {key}"), label, sheet)]))
    lead = ""
    if cost.ratio is not None:
        lead = f"Training every combination would take {cost.ratio:.1f} times as long as this study did."
    return Section(f"{id}-cost", "What it cost", lead, blocks)


def _provenance(folder: StudyFolder, missing: list[str], id: str) -> Section:
    versions = part(Versions, folder.versions, folder.path, missing, "what the study was made with is not known")
    blocks: list[Block] = []
    if versions:
        blocks.append(Facts([("Made with", versions.line)]))
    try:
        settings = without_passwords(config_text(folder.config))
        blocks.append(Text(settings, title="The study file as resolved", kind="code"))
    except InputError as error:
        missing.append(f"{folder.config.name}: the study's settings are not known: {error}")
    lead = f"Everything on this page was read from {folder.path}; nothing was computed again from weights."
    return Section(f"{id}-made", "How it was made", lead, blocks)
