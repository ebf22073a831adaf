"""Sets of rows that tests of the audit's checks look at."""

from collections.abc import Iterable
from typing import Any

from multitune.audit.checks import Audited, AuditSet, Check, Found, Mixture
from multitune.config.schema import TaskConfig
from multitune.core.records import Example, Split
from multitune.core.results.audit import Finding, Measure
from multitune.data.run_sets import Role
from multitune.tasks.task import Task

Pairs = Iterable[tuple[str, str]]  # what a row shows, and its answer
# Sentences of which no two are alike.
SENTENCES = [
    "The harbour office closes its gates at eight every evening in winter.",
    "Nobody had expected the second quarter to bring a profit of this size.",
    "A blue kite hung in the old chestnut tree behind the railway station.",
    "Investors sold shares of the brewery after its chief executive resigned.",
    "Please send the signed contract to our legal department by Friday noon.",
    "Seventeen musicians rehearsed the overture while rain fell on the roof.",
    "Her grandmother kept dried lavender between the pages of heavy books.",
    "The committee postponed its vote on the new bridge for another month.",
    "Cold water from the spring runs through a wooden pipe to the village.",
    "Our server returned an error when I tried to change my password today.",
    "Copper prices climbed for a fourth day as mines in Chile stood still.",
    "Two foxes crossed the frozen field long before the sun came up.",
    "He paid for the ticket in coins and forgot his umbrella on the bench.",
    "The vaccine was tested on volunteers in five countries last autumn.",
    "Every student receives a printed copy of the timetable on Monday.",
    "Analysts cut their forecast for the airline because fuel grew dearer.",
    "A narrow stair leads from the kitchen down to the wine cellar.",
    "The judge asked both parties to settle the dispute without a trial.",
    "Bees returned to the orchard once the neighbours stopped spraying.",
    "My parcel arrived damaged and the shop refuses to refund the money.",
    "Rowers trained on the canal until the ice made it impossible.",
    "The museum lends three paintings to a gallery in Lisbon this spring.",
    "Dividends will be paid in May if shareholders agree at the meeting.",
    "She repaired the radio with a spring taken from an old alarm clock.",
]


def made(
    name: str = "t", kind: str = "classify", role: Role = "task", instruction: str = "", **splits: Pairs
) -> AuditSet:
    """A set whose rows are these pairs; ids are the split and the row's number."""
    prompt = f"{instruction}{{{{ a }}}}"
    fields: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "prompt": prompt,
        "answer": "{{ b }}",
        "data": {"train": "x"},
    }
    task = Task(TaskConfig.model_validate(fields))
    rows: dict[Split, list[Example]] = {}
    for split in ("train", "validation", "test"):
        pairs = splits.get(split, ())
        rows[split] = [
            Example(name, f"{split}{place}", f"{instruction}{shown}", answer, answer)
            for place, (shown, answer) in enumerate(pairs)
        ]
    if kind == "classify":
        task.fit_labels(row.answer for row in rows["train"] or rows["test"])
    return AuditSet(task, role, rows)


def seen(check: Check, *sets: AuditSet, **thresholds: float) -> Audited:
    """What a check sees of some sets, with its own thresholds but for those given."""
    values = {name: one.value for name, one in check.thresholds.items()} | thresholds
    return Audited(sets, Mixture([{one.name: 1 / len(sets) for one in sets}]), 17, values)


def findings(check: Check, *sets: AuditSet, **thresholds: float) -> list[Finding]:
    """What a check has to say against some sets."""
    found: list[Found] = list(check.find(seen(check, *sets, **thresholds)))
    return [one for one in found if isinstance(one, Finding)]


def measures(check: Check, *sets: AuditSet) -> dict[str, float]:
    """What a check measured, by name."""
    return {one.name: one.value for one in check.find(seen(check, *sets)) if isinstance(one, Measure)}


def dropped(check: Check, *sets: AuditSet) -> list[tuple[str, str]]:
    """The rows that a cleaned copy goes without: set and id of each."""
    assert check.drops is not None
    return [(one.set, one.row) for one in check.drops(seen(check, *sets))]


def labelled(texts: Iterable[str], label: str = "") -> list[tuple[str, str]]:
    """Pairs whose label is the given one, or yes and no by turns."""
    return [(text, label or ("yes", "no")[place % 2]) for place, text in enumerate(texts)]
