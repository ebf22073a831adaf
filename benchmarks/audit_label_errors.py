"""Labels exchanged at random in real sets: how many of them the audit names, and what it says of the sets as they are.

DATA names a folder with JSONL files of texts and labels in folders of their own; the example's tweets if absent.
"""

import json
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.audit_planted import EXAMPLE
from benchmarks.record import record
from multitune.audit.label_errors import CHECKS, FOLDS, out_of_fold, suspects

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
MARGINS = (0.5, 0.8)
AGREED = CHECKS[0].thresholds["agreed"].value


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """Different texts, and the numbers of their labels; rare labels are left out, as by the check."""
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    text = next(name for name in ("text", "sentence") if name in rows[0])
    label = next(name for name in ("label", "category", "sentiment") if name in rows[0])
    pairs = {row[text]: str(row[label]) for row in rows}
    counts = Counter(pairs.values())
    kept = {one: name for one, name in pairs.items() if counts[name] >= FOLDS}
    names = sorted(set(kept.values()))
    return list(kept), np.array([names.index(name) for name in kept.values()])


def exchanged(labels: np.ndarray, seed: int) -> tuple[np.ndarray, set[int]]:
    """Labels of which some are other ones, and their places."""
    draw = random.Random(seed)
    found, several = labels.copy(), range(int(labels.max()) + 1)
    places = set(draw.sample(range(len(labels)), round(SHARE * len(labels))))
    for at in sorted(places):
        found[at] = draw.choice([one for one in several if one != labels[at]])
    return found, places


def measured(texts: list[str], labels: np.ndarray) -> dict[str, object]:
    """With labels exchanged, as they are, and with labels that no text tells."""
    found: dict[str, object] = {"rows": len(labels), "labels": int(labels.max()) + 1}
    as_is = out_of_fold(texts, labels, SEEDS[0])
    found["accuracy_of_words"] = round(float((as_is.argmax(1) == labels).mean()), 3)
    draw = random.Random(SEEDS[0])
    nothing = {
        "shuffled": np.array(draw.sample(labels.tolist(), len(labels))),
        "5% and 95%": np.array([int(draw.random() < 0.05) for _ in texts]),
    }
    of_nothing = {name: out_of_fold(texts, given, SEEDS[0]) for name, given in nothing.items()}
    planted = [(*exchanged(labels, seed), seed) for seed in SEEDS]
    likely = [out_of_fold(texts, given, seed) for given, _, seed in planted]
    for margin in MARGINS:
        right = named = 0
        for (given, places, _), one in zip(planted, likely, strict=True):
            chosen = suspects(one, given, margin, AGREED)
            right, named = right + len(places.intersection(chosen)), named + len(chosen)
        found[f"margin {margin}"] = {
            "recall": round(right / sum(len(places) for _, places, _ in planted), 3),
            "precision": round(right / named, 3) if named else None,
            "named_as_they_are": len(suspects(as_is, labels, margin, AGREED)),
            **{
                f"named_of_random_labels, {name}": {
                    agreed: len(suspects(of_nothing[name], given, margin, agreed)) for agreed in (AGREED, 0.0)
                }
                for name, given in nothing.items()
            },
        }
    return found


def main() -> None:
    """Each file alone."""
    folder = Path(os.environ.get("DATA") or EXAMPLE)
    figures: dict[str, object] = {"exchanged": SHARE, "seeds": list(SEEDS), "agreed": AGREED}
    for file in FILES:
        if (folder / file).exists():
            figures[file] = measured(*read(folder / file))
            print(file, json.dumps(figures[file]), flush=True)
    record("audit_label_errors", COMMAND, figures)


if __name__ == "__main__":
    main()
