"""Recall and precision of the audit's checks on faults planted in real rows, and false alarms on the rows as they are.

DATA names JSONL files, separated by commas, each with `:COLUMN` of its text; without it, texts of the examples serve.
"""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.record import record
from multitune.audit import contradictions, duplicates, leaks, texts
from multitune.audit.checks import Audited, AuditSet, Check, Mixture
from multitune.audit.near import near_clusters
from multitune.audit.rows import read_rows
from multitune.config.schema import TaskConfig
from multitune.core.records import Example, Split
from multitune.core.results.audit import Finding
from multitune.data.splits import text_hash
from multitune.tasks.task import Task

COMMAND = "make bench PART=audit_planted"
EXAMPLES = Path(__file__).parent.parent / "examples"
PLANTED = 200  # of each fault
EDITS = (1, 2, 3, 5, 8)  # characters, or words, of a near copy
LEAST = 60  # characters of a text that faults are planted in
LABELS = ("yes", "no")


def sources() -> dict[str, list[str]]:
    """Different texts of each file."""
    default = f"{EXAMPLES}/finance/data/tweets/train.jsonl:text,{EXAMPLES}/finance/data/dolly/train.jsonl:response"
    found: dict[str, list[str]] = {}
    for one in os.environ.get("DATA", default).split(","):
        path, _, column = one.rpartition(":")
        rows = [json.loads(line) for line in Path(path).read_text("utf-8").split("\n") if line]
        kept = {" ".join(str(row[column]).casefold().split()): str(row[column]) for row in rows if row.get(column)}
        found["/".join([*Path(path).parts[-2:], column])] = list(kept.values())
    return found


def made(**splits: list[tuple[str, str]]) -> AuditSet:
    """A set of texts and labels."""
    fields = {
        "name": "t",
        "kind": "classify",
        "prompt": "Which?\n\n{{ a }}",
        "answer": "{{ b }}",
        "data": {"train": "x"},
    }
    task = Task(TaskConfig.model_validate(fields))
    task.fit_labels(LABELS)
    rows: dict[Split, list[Example]] = {}
    for split in ("train", "validation", "test"):
        pairs = enumerate(splits.get(split, []))
        rows[split] = [Example("t", f"{split}{at}", f"Which?\n\n{text}", label, label) for at, (text, label) in pairs]
    return AuditSet(task, "task", rows)


def seen(one: AuditSet, check: Check) -> Audited:
    """What a check sees of it, with its own thresholds."""
    values = {name: threshold.value for name, threshold in check.thresholds.items()}
    return Audited([one], Mixture([{"t": 1.0}]), 17, values)


def counted(one: AuditSet, *checks: Check) -> int:
    """Rows that the findings of some checks count."""
    found = (finding for check in checks for finding in check.find(seen(one, check)))
    return sum(finding.rows or 0 for finding in found if isinstance(finding, Finding))


def letters_changed(text: str, number: int, draw: random.Random) -> str:
    """A text with so many typos."""
    changed = list(text)
    for place in draw.sample(range(len(changed)), number):
        changed[place] = draw.choice("abcdefghijklmnopqrstuvwxyz")
    return "".join(changed)


def words_changed(text: str, number: int, draw: random.Random) -> str:
    """A text of which so many words are others."""
    words = text.split()
    for place in draw.sample(range(len(words)), min(number, len(words))):
        words[place] = f"other{place}"
    return " ".join(words)


def near(known: list[str], edit: Callable[[str, int, random.Random], str], number: int) -> dict[str, float]:
    """Planted near copies that cluster with their source; of all that cluster beyond the clean rows, the planted."""
    draw = random.Random(17)
    chosen = draw.sample([text for text in known if len(text) >= LEAST], PLANTED)
    together = [*known, *(edit(text, number, draw) for text in chosen)]
    jaccard = duplicates.CHECKS[1].thresholds["jaccard"].value
    hashes = np.array([text_hash(text, 0) for text in together], dtype=np.uint64)
    cluster = near_clusters(hashes, lambda: together, jaccard)
    before = near_clusters(hashes[: len(known)], lambda: known, jaccard)
    own = {text: cluster[at] for at, text in enumerate(known)}
    right = sum(int(cluster[len(known) + at] == own[text]) for at, text in enumerate(chosen))
    joined = len(set(before.tolist())) + len(chosen) - len(set(cluster.tolist()))  # merges that the copies brought
    return {"recall": right / PLANTED, "precision": right / joined if joined else 1.0}


def others(known: list[str]) -> dict[str, dict[str, float]]:
    """Planted rows, and how many rows the findings count beyond those of the rows as they are."""
    draw = random.Random(17)
    rows = [(text, LABELS[at % 2]) for at, text in enumerate(known)]
    half = len(rows) // 2
    train, test = rows[:half], rows[half:]
    long = [text for text, _ in train if len(text.split()) >= 20]
    moved = [(text, draw.choice(LABELS)) for text, _ in draw.sample(train, min(PLANTED, half))]
    flipped = [(text, LABELS[label == LABELS[0]]) for text, label in draw.sample(train, min(PLANTED, half))]
    wrong = [(f"It’s so – {text}".encode().decode("cp1252", "replace"), label) for text, label in train[:PLANTED]]
    closed = [(text, "yes") for text, _ in rows if len(text) >= 120 and not texts.is_open(text)]
    cut = [
        (text[: text.rfind(" ", 0, len(text) - 10)], "yes") for text, _ in closed[: min(PLANTED, len(closed) // 12)]
    ]
    inside = [(" ".join(text.split()[2:18]), "yes") for text in draw.sample(long, min(PLANTED, len(long)))]
    planted: dict[str, tuple[Check, AuditSet, AuditSet, int]] = {
        "test rows copied into train": (
            duplicates.CHECKS[0],
            made(train=train, test=test),
            made(train=train, test=test + moved),
            len(moved),
        ),
        "passages of train as test rows": (
            leaks.CHECKS[0],
            made(train=train, test=test),
            made(train=train, test=test + inside),
            len(inside),
        ),
        "labels flipped": (
            contradictions.CHECKS[0],
            made(train=rows),
            made(train=rows + flipped),
            2 * len({t for t, _ in flipped}),
        ),
        "texts decoded as cp1252": (texts.CHECKS[1], made(train=rows), made(train=rows + wrong), len(wrong)),
        "texts cut": (texts.CHECKS[0], made(train=closed), made(train=[*closed[len(cut) :], *cut]), len(cut)),
    }
    found: dict[str, dict[str, float]] = {}
    for name, (check, clean, faulty, number) in planted.items():
        alarms, all_found = counted(clean, check), counted(faulty, check)
        found[name] = {"planted": number, "found": all_found - alarms, "rows_found_unplanted": alarms}
    return found


def main() -> None:
    """Every fault in every source."""
    figures: dict[str, object] = {}
    for name, known in sources().items():
        edits = {"letters": letters_changed, "words": words_changed}
        copies = {f"{n} {what}": near(known, edit, n) for what, edit in edits.items() for n in EDITS}
        clean = made(train=[(text, LABELS[at % 2]) for at, text in enumerate(known)])
        rows = read_rows(seen(clean, duplicates.CHECKS[1]))
        clusters = near_clusters(rows.shown, lambda known=known: known, 0.7)
        figures[name] = {
            "rows": len(known),
            "median_characters": int(np.median([len(text) for text in known])),
            "near_copies_by_edits": copies,
            "rows_near_another_as_they_are": len(known) - len(set(clusters.tolist())),
            "others": others(known),
        }
        print(name, json.dumps(figures[name], indent=1), flush=True)
    record("audit_planted", COMMAND, figures)


if __name__ == "__main__":
    main()
