"""Labels exchanged at random in real sets: how many of them the audit names, and what it says of the sets as they are.

DATA names a folder with JSONL files of texts and labels in folders of their own; the example's tweets if absent.
"""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.audit_planted import EXAMPLE, audited, set_of
from benchmarks.record import record
from multitune.audit.label_errors import CHECKS, NAME
from multitune.core.results.audit import Finding, Measure

COMMAND = "make bench PART=audit_label_errors"
FILES = (
    "tweets/train.jsonl",
    "tfns/train.jsonl",
    "fpb/train.jsonl",
    "banking77/train.jsonl",
    "cs224n_dfp/cfimdb_train.jsonl",
)
SHARE = 0.05  # of the labels are exchanged
SEEDS = (17, 18, 19)
Pairs = Sequence[tuple[str, str]]


def read(path: Path) -> list[tuple[str, str]]:
    """Different texts and their labels."""
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    text = next(name for name in ("text", "sentence") if name in rows[0])
    label = next(name for name in ("label", "category", "sentiment") if name in rows[0])
    return list({row[text]: (row[text], str(row[label])) for row in rows}.values())


def exchanged(pairs: Pairs, seed: int) -> tuple[list[tuple[str, str]], set[int]]:
    """Some rows with another label of the set, and their places."""
    draw = random.Random(seed)
    labels = sorted({label for _, label in pairs})
    places = set(draw.sample(range(len(pairs)), round(SHARE * len(pairs))))
    other = [
        (text, draw.choice([one for one in labels if one != label]) if at in places else label)
        for at, (text, label) in enumerate(pairs)
    ]
    return other, places


def named(pairs: Pairs) -> tuple[list[int], float]:
    """Places of the rows that the check names, the surest first, and the accuracy of its model."""
    (check,) = CHECKS
    values = {name: one.value for name, one in check.thresholds.items()}
    found = list(check.find(audited(set_of(pairs), **values)))
    places = [int(one.row[1:]) for finding in found if isinstance(finding, Finding) for one in finding.examples]
    return places, next((one.value for one in found if isinstance(one, Measure)), float("nan"))


def measured(pairs: Pairs) -> dict[str, object]:
    """With labels exchanged, as they are, and shuffled over the texts."""
    right = of = planted = 0
    for seed in SEEDS:
        rows, places = exchanged(pairs, seed)
        found, _ = named(rows)
        right, of, planted = right + len(places & set(found)), of + len(found), planted + len(places)
    as_is, accuracy = named(pairs)
    labels = [label for _, label in pairs]
    random.Random(17).shuffle(labels)
    shuffled, _ = named([(text, label) for (text, _), label in zip(pairs, labels, strict=True)])
    return {
        "rows": len(pairs),
        "labels": len(set(labels)),
        "accuracy_of_words": round(accuracy, 3),
        "planted": planted,
        "recall": round(right / planted, 3),
        "precision": round(right / of, 3) if of else None,
        "named_as_they_are": len(as_is),
        "named_of_shuffled_labels": len(shuffled),
    }


def main() -> None:
    """Each file alone; the check shows all rows that it names here, and not the first alone."""
    import multitune.audit.label_errors as check

    check.SHOWN = 10**6
    folder = Path(os.environ.get("DATA") or EXAMPLE)
    figures: dict[str, object] = {"check": NAME, "exchanged": SHARE, "seeds": list(SEEDS)}
    for file in FILES:
        if (folder / file).exists():
            figures[file] = measured(read(folder / file))
            print(file, json.dumps(figures[file]), flush=True)
    record("audit_label_errors", COMMAND, figures)


if __name__ == "__main__":
    main()
