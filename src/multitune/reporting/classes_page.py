"""Classify tasks label by label: rows, precision, recall and F1 of each, and which labels are taken for which."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from multitune.core.bases import BASE
from multitune.core.files import json_lines
from multitune.core.results.scores import TransferRow
from multitune.reporting.blocks import Block, Cell, Folded, Section, Table, header, number
from multitune.reporting.example_comparison import home_of
from multitune.reporting.facts import RunFacts
from multitune.reporting.formatting import count, percent
from multitune.reporting.tables.routing import confusion_cells

WIDEST = 12  # labels of a confusion matrix that a page shows; of more, the commonest confusions are listed
MOST = 25  # confusions in such a list
UNREADABLE = "(no label)"
Pairs = Sequence[tuple[str, str]]  # (right label, answered label)


def classes_section(facts: RunFacts, id: str) -> Section | None:
    """A folded part per classify task, from the predictions of the run."""
    blocks: list[Block] = []
    for adapter, row in facts.rows():
        if facts.scores and row.task in facts.scores.tasks and facts.scores.tasks[row.task].kind == "classify":
            blocks += _of_task(facts, adapter, row, id)
    lead = "Scores per label, counted from the same answers as the table above. Rare labels move a macro F1 most."
    if any(row.seeds > 1 for _, row in facts.rows()):
        lead = "Scores per label in the first training; the table above has means. Rare labels move a macro F1 most."
    return Section(f"{id}-labels", "Label by label", lead, blocks) if blocks else None


def _of_task(facts: RunFacts, adapter: str, row: TransferRow, id: str) -> list[Block]:
    subjects = list(dict.fromkeys([BASE, row.reference, adapter]))
    answers = {name: found for name in subjects if (found := _pairs(facts, name, row.task))}
    if adapter not in answers:
        return []  # answers_section names the missing file
    labels = _labels(facts, row.task, answers[adapter])
    key = f"{id}-{row.task}"
    tables = [_scores(facts, row, labels, answers, key)]
    if len(labels) <= WIDEST:
        tables.append(_confusion(row.task, answers[adapter], labels, adapter, key))
    else:
        tables.append(_commonest(row.task, answers[adapter], adapter, key))
    return [Folded(f"{row.task}: {len(labels)} labels, {count(len(answers[adapter]))} {facts.split} rows", tables)]


def _pairs(facts: RunFacts, subject: str, task: str) -> Pairs:
    rows = json_lines(home_of(facts, task).predictions(subject, task, facts.split))
    return [(str(row["gold"]), str(row.get("value") or UNREADABLE)) for row in rows if row and "gold" in row]


def _labels(facts: RunFacts, task: str, pairs: Pairs) -> list[str]:
    """Every label that occurs on either side, those with most rows first."""
    rows = Counter(gold for gold, _ in pairs)
    known = facts.data.sets[task].labels if facts.data and task in facts.data.sets else ()
    named = [label for label in dict.fromkeys([*known, *rows]) if label != UNREADABLE]
    return sorted(named, key=lambda label: -rows[label])


def _scores(facts: RunFacts, row: TransferRow, labels: Sequence[str], answers: dict[str, Pairs], key: str) -> Table:
    """Rows of each label and its F1 by every subject; precision and recall of the main adapter, the last one."""
    from sklearn.metrics import precision_recall_fscore_support

    nothing: Any = 0.0  # where a label is never answered; scikit-learn's types know its words alone
    record = facts.data.sets.get(row.task) if facts.data else None
    learned = {one.label: one.rows["train"] for one in record.label_counts} if record else {}
    by: dict[str, list[list[float]]] = {}
    for name, pairs in answers.items():
        golds, values = zip(*pairs, strict=True)
        found: Any = precision_recall_fscore_support(golds, values, labels=list(labels), zero_division=nothing)
        by[name] = [column.tolist() for column in found]
    main = list(answers)[-1]
    rows: list[list[Cell]] = []
    for at, label in enumerate(labels):
        cells = [Cell(label), number(learned.get(label), count), number(by[main][3][at], count)]
        cells += [number(by[name][2][at]) for name in answers]
        rows.append([*cells, number(by[main][0][at]), number(by[main][1][at])])
    spoken = {row.reference: "alone" if row.against == "alone" else BASE, main: "together"} | {BASE: BASE}
    titles = [f"F1 {spoken[name]}" for name in answers]
    columns = header("label", ["train rows", "n", *titles, "precision", "recall"])
    caption = f"Every label of {row.task}; precision and recall: {main}"
    return Table(f"{key}-classes", caption, columns, rows, sortable=len(labels) > WIDEST)


def _confusion(task: str, pairs: Pairs, labels: Sequence[str], adapter: str, key: str) -> Table:
    counts = Counter(pairs)
    answered = [*labels, *([UNREADABLE] if any(value == UNREADABLE for _, value in pairs) else [])]
    rows = [
        [Cell(gold), *confusion_cells([counts[gold, value] for value in answered], right=at)]
        for at, gold in enumerate(labels)
    ]
    caption = f"{task}: right label (row), answer of {adapter} (column)"
    return Table(f"{key}-confusion", caption, header("label", answered), rows, heat=True)


def _commonest(task: str, pairs: Pairs, adapter: str, key: str) -> Table:
    rows = Counter(gold for gold, _ in pairs)
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1]).most_common(MOST)
    cells = [
        [Cell(gold), Cell(value), number(n, count), number(n / rows[gold], percent)] for (gold, value), n in wrong
    ]
    columns = header("right label", f"answer of {adapter}", ["rows", "of that label"])
    return Table(f"{key}-confusions", f"The commonest confusions of {task}", columns, cells)
