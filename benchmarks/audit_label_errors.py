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
MARGIN, AGREED = (CHECKS[0].thresholds[name].value for name in ("margin", "agreed"))
FIRST = 50  # rows that somebody looks at


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
    chosen: list[list[int]] = []
    wrong: list[set[int]] = []
    for seed in SEEDS:
        given, places = exchanged(labels, seed)
        chosen.append(suspects(out_of_fold(texts, given, seed), given, MARGIN, AGREED))
        wrong.append(places)
    right = [[at in places for at in one] for one, places in zip(chosen, wrong, strict=True)]
    return {
        **found,
        "recall": round(sum(map(sum, right)) / sum(map(len, wrong)), 3),
        "precision": round(sum(map(sum, right)) / max(sum(map(len, right)), 1), 3),
        f"precision_of_first_{FIRST}": round(float(np.mean([np.mean(one[:FIRST]) for one in right])), 3),
        "named_as_they_are": len(suspects(as_is, labels, MARGIN, AGREED)),
        **{
            f"named_of_random_labels, {name}": {
                least: len(suspects(of_nothing[name], given, MARGIN, least)) for least in (AGREED, -1.0)
            }
            for name, given in nothing.items()
        },
    }


def main() -> None:
    """Each file alone."""
    folder = Path(os.environ.get("DATA") or EXAMPLE)
    figures: dict[str, object] = {"exchanged": SHARE, "seeds": list(SEEDS), "margin": MARGIN, "agreed": AGREED}
    for file in FILES:
        if (folder / file).exists():
            figures[file] = measured(*read(folder / file))
            print(file, json.dumps(figures[file]), flush=True)
    record("audit_label_errors", COMMAND, figures)


if __name__ == "__main__":
    main()
