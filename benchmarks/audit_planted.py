"""Faults planted in real rows: how many the audit finds, and how much of what it finds was planted.

DATA names a folder with JSONL files of texts and labels in folders of their own; the example's tweets if absent.
"""

import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.record import record
from multitune.audit import contradictions, leaks
from multitune.audit.checks import Audited, AuditSet, Mixture
from multitune.audit.near import near_clusters
from multitune.audit.rows import read_rows, shown_texts
from multitune.audit.texts import CHECKS as TEXT_CHECKS
from multitune.audit.texts import is_mojibake, is_open
from multitune.config.schema import TaskConfig
from multitune.core.records import Example
from multitune.core.results.audit import Finding
from multitune.core.text import text_key
from multitune.tasks.task import Task

COMMAND = "make bench PART=audit_planted"
EXAMPLE = Path(__file__).parent.parent / "examples/finance/data"
FILES = ("tweets/train.jsonl", "reports/train.jsonl", "tfns/train.jsonl", "banking77/train.jsonl", "gsm8k/train.jsonl")
DISTANCES = (0.01, 0.02, 0.03, 0.05, 0.1)  # edits for each character
JACCARD = (0.6, 0.7, 0.8)
PLANTED = 300  # of each fault
LEAST = 40  # characters of a text in which a fault is planted
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def edited(text: str, distance: float, random_: random.Random) -> str:
    """A copy with so many single characters exchanged, left out or put in."""
    chars = list(text)
    for _ in range(max(1, round(distance * len(text)))):
        at = random_.randrange(len(chars))
        chars[at : at + 1] = random_.choice(([], [random_.choice(LETTERS)], [chars[at], random_.choice(LETTERS)]))
    return "".join(chars)


def set_of(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]] = (), kind: str = "classify") -> AuditSet:
    """Texts and labels as a set with an instruction around them."""
    fields = {
        "name": "s",
        "kind": kind,
        "prompt": "What is it?\n\n{{ a }}",
        "answer": "{{ b }}",
        "data": {"train": "x"},
    }
    task = Task(TaskConfig.model_validate(fields))
    task.fit_labels(label for _, label in (*train, *test))

    def rows(pairs: Sequence[tuple[str, str]]) -> list[Example]:
        return [
            Example("s", f"r{at}", f"What is it?\n\n{text}", label, label) for at, (text, label) in enumerate(pairs)
        ]

    return AuditSet(task, "task", {"train": rows(train), "test": rows(test)})


def audited(one: AuditSet, **thresholds: float) -> Audited:
    """One set, looked at with these thresholds."""
    return Audited([one], Mixture([{"s": 1.0}]), 17, thresholds)


def found_pairs(texts: Sequence[str], jaccard: float) -> set[tuple[int, int]]:
    """Pairs of texts in one cluster, lower place first."""
    seen = audited(set_of([(text, "a") for text in texts]))
    rows = read_rows(seen)
    members: dict[int, list[int]] = {}
    clusters = near_clusters(rows.shown, lambda: shown_texts(seen.sets), jaccard)
    for at, cluster in enumerate(clusters.tolist()):
        members.setdefault(cluster, []).append(at)
    return {(a, b) for rows_ in members.values() for i, a in enumerate(rows_) for b in rows_[i + 1 :]}


def near(texts: Sequence[str]) -> dict[str, object]:
    """Copies at several edit distances. Texts that have a near copy before anything is planted are left out."""
    alone = apart(texts)
    result: dict[str, object] = {}
    for jaccard in JACCARD:
        hits = {distance: [0, 0] for distance in DISTANCES}
        false = 0
        for distance in DISTANCES:
            random_ = random.Random(17)
            chosen = random_.sample([at for at, text in enumerate(alone) if len(text) >= LEAST], PLANTED)
            copies = [edited(alone[at], distance, random_) for at in chosen]
            truth = {(at, len(alone) + i) for i, at in enumerate(chosen)}
            found = found_pairs([*alone, *copies], jaccard)
            hits[distance] = [len(found & truth), len(truth)]
            false += len(found - truth)
        right, of = sum(one for one, _ in hits.values()), sum(all_ for _, all_ in hits.values())
        result[f"jaccard {jaccard}"] = {
            "recall_by_distance": {str(distance): round(a / b, 3) for distance, (a, b) in hits.items()},
            "recall": round(right / of, 3),
            "recall_up_to_0.03": round(sum(hits[d][0] for d in DISTANCES[:3]) / (3 * PLANTED), 3),
            "precision": round(right / (right + false), 3),
        }
    return result


def apart(texts: Sequence[str]) -> list[str]:
    """The texts of which no other is a near copy, even at a lower threshold than is measured."""
    near_ones = {at for pair in found_pairs(texts, 0.5) for at in pair}
    return [text for at, text in enumerate(texts) if at not in near_ones]


def leaked(pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    """Test rows of which half or all stands in a training row, among others that do not."""
    random_ = random.Random(17)
    known = set(apart([text for text, _ in pairs]))
    long = [pair for pair in pairs if pair[0] in known and len(pair[0].split()) >= 16]
    random_.shuffle(long)
    size = min(PLANTED, len(long) // 4)
    test, train = long[: 2 * size], long[2 * size :]
    planted = [(f"As was said here before: {text} And more was said after it.", label) for text, label in test[:size]]
    (check,) = leaks.CHECKS
    values = {name: threshold.value for name, threshold in check.thresholds.items()}

    def count(rows: Sequence[tuple[str, str]], more: Sequence[tuple[str, str]]) -> int:
        seen = check.find(audited(set_of([*train, *more], rows), **values))
        return sum(one.rows for one in seen if isinstance(one, Finding))

    right, false = count(test[:size], planted), count(test[size:], planted)
    return scores(right, size, false)


def scores(right: int, planted: int, false: int) -> dict[str, object]:
    """Recall and precision."""
    precision = round(right / (right + false), 3) if right + false else None
    return {"planted": planted, "recall": round(right / planted, 3), "precision": precision, "false_alarms": false}


def flipped(pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    """Copies of rows with another label; false alarms are rows that contradict nothing planted."""
    random_ = random.Random(17)
    labels = sorted({label for _, label in pairs})
    unique = list({text_key(text): (text, label) for text, label in pairs}.values())
    chosen = random_.sample(unique, min(PLANTED, len(unique)))
    copies = [(text.upper(), random_.choice([one for one in labels if one != label])) for text, label in chosen]
    (check,) = contradictions.CHECKS
    found = list(check.find(audited(set_of([*unique, *copies]), share=0.0, high=1.0)))
    rows = sum(one.rows for one in found if isinstance(one, Finding))
    clean = list(check.find(audited(set_of(unique), share=0.0, high=1.0)))
    return scores(min(rows // 2, len(copies)), len(copies), max(rows // 2 - len(copies), 0) + len(clean))


def damaged(
    texts: Sequence[str], harm: Callable[[str], str], finds: Callable[[str], bool], *, whole: Callable[[str], bool]
) -> dict[str, object]:
    """Texts that were harmed, among the same texts unharmed; those where nothing could be harmed are left out."""
    good = [text for text in texts if len(text) >= LEAST and whole(text)][: 4 * PLANTED]
    bad = [harm(text) for text in good]
    changed = [(a, b) for a, b in zip(good, bad, strict=True) if a != b][:PLANTED]
    if not changed:
        return {"planted": 0}
    return scores(sum(finds(b) for _, b in changed), len(changed), sum(finds(a) for a in good))


def misread(text: str) -> str:
    """UTF-8 that is read as Windows-1252, after typographic signs and accents were put in."""
    typeset = text.replace("'", "’").replace(" e", " é", 1)
    return typeset.encode("utf-8").decode("cp1252", "replace") if not typeset.isascii() else text


def main() -> None:
    """Each file alone."""
    folder = Path(os.environ.get("DATA") or EXAMPLE)
    figures: dict[str, object] = {"published": {"near duplicates": "text-dedup: precision .959, recall .942"}}
    for file in FILES:
        if not (folder / file).exists():
            continue
        lines = [json.loads(line) for line in (folder / file).read_text("utf-8").split("\n") if line]
        pairs = [
            (
                str(row.get("text") or row.get("question") or row.get("sentence")),
                str(row.get("label") or row.get("category")),
            )
            for row in lines
        ]
        texts = list(dict.fromkeys(text for text, _ in pairs))
        is_labelled = len({label for _, label in pairs}) > 1
        figures[file] = {
            "rows": len(pairs),
            "near": near(texts),
            "leaks": leaked(pairs),
            "contradictions": flipped(pairs) if is_labelled else None,
            "mojibake": damaged(texts, misread, is_mojibake, whole=lambda text: not is_mojibake(text)),
            "truncated": damaged(
                texts, lambda text: text[: len(text) * 2 // 3], is_open, whole=lambda t: t[-1] in ".?!"
            ),
            "false_alarms_of_texts": alarms(pairs),
        }
        print(file, json.dumps(figures[file], indent=1), flush=True)
    record("audit_planted", COMMAND, figures)


def alarms(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What the checks of texts say of the rows as they are."""
    found: list[str] = []
    for check in TEXT_CHECKS:
        values = {name: threshold.value for name, threshold in check.thresholds.items()}
        found += [one.message for one in check.find(audited(set_of(pairs), **values)) if isinstance(one, Finding)]
    return found


if __name__ == "__main__":
    main()
