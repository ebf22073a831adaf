"""Personal data, representation and association over public data sets: what is found, and how fast.

`make bench PART=audit_people DATA=folder`: the folder holds one folder of JSON lines for each set.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import record
from multitune.audit import association, personal_data, representation
from multitune.audit.checks import Audited, AuditSet, Check, Found, Mixture
from multitune.config.schema import TaskConfig
from multitune.core.records import Example
from multitune.core.results.audit import Finding
from multitune.core.seeds import generator
from multitune.tasks.task import Task

COMMAND = "make bench PART=audit_people DATA=folder"
CHECKS: tuple[Check, ...] = (*personal_data.CHECKS, *representation.CHECKS, *association.CHECKS)
SHUFFLES = 20  # of the labels of each set, to count false alarms
# Set -> (files, kind, prompt, answer)
SETS = {
    "banking77": ("banking77/train", "classify", "{{ text }}", "{{ category }}"),
    "bbq": ("bbq/*", "classify", "{{ context }} {{ question }} {{ ans0 }} {{ ans1 }} {{ ans2 }}", "{{ label }}"),
    "cfimdb": ("cs224n_dfp/cfimdb_train", "classify", "{{ sentence }}", "{{ 'positive' if label else 'negative' }}"),
    "convfinqa": ("convfinqa/dev_turns", "generate", "{{ context_text }} {{ table }} {{ question }}", "{{ answer }}"),
    "dolly": ("dolly_partial/train_short", "generate", "{{ instruction }}", "{{ response }}"),
    "fin3": ("finner_fin3/flare_*", "generate", "{{ text }}", "{{ entities }}"),
    "finqa": ("finqa/valid", "generate", "{{ context }} {{ question }}", "{{ answer }}"),
    "fiqa_sa": ("fiqa_sa/task1_train_all", "regress", "{{ sentence }}", "{{ sentiment_score }}"),
    "fpb": ("fpb/train", "classify", "{{ text }}", "{{ label }}"),
    "gsm8k": ("gsm8k/train", "generate", "{{ question }}", "{{ answer }}"),
    "headline": ("headline/all", "classify", "{{ news }}", "{{ price_sentiment or 'none' }}"),
    "intents": ("bitext_support/train", "classify", "{{ instruction }}", "{{ intent }}"),
    "mmlu": ("mmlu/val", "classify", "{{ question }} {{ A }} {{ B }} {{ C }} {{ D }}", "{{ answer }}"),
    "pubmedqa": ("pubmedqa/train_dev", "classify", "{{ context }} {{ question }}", "{{ label }}"),
    "quora": ("cs224n_dfp/quora_dev", "classify", "{{ sentence1 }} {{ sentence2 }}", "{{ is_duplicate }}"),
    "sst": ("cs224n_dfp/sst_train", "regress", "{{ sentence }}", "{{ label }}"),
    "sts": ("cs224n_dfp/sts_train", "regress", "{{ sentence1 }} {{ sentence2 }}", "{{ similarity }}"),
    "support": ("bitext_support/train", "generate", "{{ instruction }}", "{{ response }}"),
    "tatqa": ("tatqa/dev", "generate", "{{ paragraphs }} {{ question }}", "{{ answer | tojson }}"),
    "tfns": ("tfns/train", "classify", "{{ text }}", "{{ label }}"),
    "toxicity": ("toxicity_surge/all", "classify", "{{ text }}", "{{ is_toxic }}"),
}


def main() -> None:
    """Audit every set alone, all of them together, and all with their labels shuffled."""
    if "DATA" not in os.environ:
        raise SystemExit(f"audit_people: DATA is not set. Run: {COMMAND}")
    sets = [audit_set(name, Path(os.environ["DATA"])) for name in SETS]
    figures: dict[str, Any] = {"rows": {one.name: len(one.rows("train")) for one in sets}}
    found: list[Found] = []
    for check in CHECKS:
        began = time.process_time()
        found += check.find(audited(sets, check))
        figures[f"{check.name}, rows per second of one core"] = round(
            sum(figures["rows"].values()) / (time.process_time() - began)
        )
    findings = [one for one in found if isinstance(one, Finding)]
    figures["findings"] = [
        one.model_dump(include={"check", "severity", "sets", "subject", "message"}) for one in findings
    ]
    figures["association with shuffled labels"] = shuffled(sets)
    for one in findings:
        print(f"{one.severity:6} {one.check:15} {'+'.join(one.sets)}: {one.message}")
    record("audit_people", COMMAND, figures)


def audit_set(name: str, data: Path) -> AuditSet:
    """One set with all its rows as training rows."""
    files, kind, prompt, answer = SETS[name]
    fields = {"name": name, "data": {"train": "x"}, "kind": kind, "prompt": prompt, "answer": answer}
    task = Task(TaskConfig.model_validate(fields))
    rows = (json.loads(line) for file in sorted(data.glob(f"{files}.jsonl")) for line in file.open(encoding="utf-8"))
    return AuditSet(task, "task", {"train": task.examples(row for row in rows if _is_complete(row))})


def _is_complete(row: dict[str, Any]) -> bool:
    return all(
        value not in ("", "[]") for key, value in row.items() if key in ("answer", "response", "entities", "context")
    )


def audited(sets: Sequence[AuditSet], check: Check) -> Audited:
    """What a check sees of sets that are drawn by size."""
    rows = sum(len(one.rows("train")) for one in sets)
    shares = {one.name: len(one.rows("train")) / rows for one in sets}
    limits = {name: one.value for name, one in check.thresholds.items()}
    return Audited(sets, Mixture([shares, shares, shares]), 17, limits)


def shuffled(sets: Sequence[AuditSet]) -> dict[str, Any]:
    """How often labels that stand in no order lead to a finding, in a set alone and in several together."""
    (check,) = association.CHECKS
    counted = [one for one in sets if one.kind in ("classify", "regress")]
    alone = together = 0
    for shuffle in range(SHUFFLES):
        made = [AuditSet(one.task, "task", {"train": list(_shuffled(one, shuffle))}) for one in counted]
        findings = [found for found in check.find(audited(made, check)) if isinstance(found, Finding)]
        alone += len({one.sets for one in findings if len(one.sets) == 1})
        together += any(len(one.sets) > 1 for one in findings)
    return {
        "sets": len(counted),
        "shuffles": SHUFFLES,
        "sets with a finding": alone,
        "runs with a shared one": together,
    }


def _shuffled(one: AuditSet, shuffle: int) -> Iterator[Example]:
    rows = list(one.rows("train"))
    order = generator(17, "shuffled labels", one.name, shuffle).permutation(len(rows))
    for row, other in zip(rows, order, strict=True):
        answer, gold = rows[other].answer, rows[other].gold
        yield Example(row.task, row.id, row.prompt, answer, gold)


if __name__ == "__main__":
    main()
