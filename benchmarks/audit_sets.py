"""Checks of duplicates, leaks, labels, texts and languages over public sets as published: what each finds, and when.

DATA names a folder with one folder of JSONL files for each set; sets that it lacks are left out.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.record import record
from multitune.audit import answer_shown, contradictions, duplicates, labels, language, leaks, texts
from multitune.audit.checks import Audited, AuditSet, Check, Mixture
from multitune.config.schema import TaskConfig
from multitune.core.records import Example, Split
from multitune.core.results.audit import Finding
from multitune.data.run_sets import Role
from multitune.tasks.task import Task

COMMAND = "make bench PART=audit_sets DATA=folder"
CHECKS: tuple[Check, ...] = (
    *duplicates.CHECKS,
    *leaks.CHECKS,
    *contradictions.CHECKS,
    *texts.CHECKS,
    *language.CHECKS,
    *labels.CHECKS,
    *answer_shown.CHECKS,
)
Files = Mapping[Split, str]
# Name: (kind, prompt, answer, file of each split); rows stand in the splits that their publishers chose.
SETS: dict[str, tuple[str, str, str, Files]] = {
    "fpb": (
        "classify",
        "What is the sentiment?\n\n{{ text }}",
        "{{ label }}",
        {"train": "fpb/train", "validation": "fpb/validation", "test": "fpb/test"},
    ),
    "fiqa": (
        "classify",
        "How does this sound to an investor?\n\n{{ text }}",
        "{{ label }}",
        {"train": "fiqa_sa/flare_train", "validation": "fiqa_sa/flare_valid", "test": "fiqa_sa/flare_test"},
    ),
    "tfns": (
        "classify",
        "Is this tweet bearish, bullish or neutral?\n\n{{ text }}",
        "{{ label }}",
        {"train": "tfns/train", "validation": "tfns/validation"},
    ),
    "headline": (
        "classify",
        "Does the gold price go up?\n\n{{ news }}",
        "{{ 'yes' if price_up else 'no' }}",
        {"train": "headline/all"},
    ),
    "finqa": ("generate", "{{ context }}\n\n{{ question }}", "{{ answer }}", {"train": "finqa/valid"}),
    "convfinqa": (
        "generate",
        "{{ context_text }}\n\n{{ question }}",
        "{{ answer }}",
        {"train": "convfinqa/dev_turns"},
    ),
    "tatqa": (
        "generate",
        "{{ table }}\n{{ paragraphs }}\n\n{{ question }}",
        "{{ answer if answer is string or answer is number else answer | join(', ') }}",
        {"train": "tatqa/dev", "test": "tatqa/test_gold"},
    ),
    "fin3": (
        "generate",
        "Which entities does this sentence name?\n\n{{ tokens | join(' ') }}",
        "{{ tokens | spans(ner_tags) }}",
        {"train": "finner_fin3/train_FIN5", "test": "finner_fin3/test_FIN3"},
    ),
    "sst": (
        "classify",
        "{{ sentence }}",
        "{{ label }}",
        {"train": "cs224n_dfp/sst_train", "test": "cs224n_dfp/sst_dev"},
    ),
    "cfimdb": (
        "classify",
        "{{ sentence }}",
        "{{ label }}",
        {"train": "cs224n_dfp/cfimdb_train", "test": "cs224n_dfp/cfimdb_dev"},
    ),
    "sts": (
        "regress",
        "{{ sentence1 }}\n{{ sentence2 }}",
        "{{ similarity }}",
        {"train": "cs224n_dfp/sts_train", "test": "cs224n_dfp/sts_dev"},
    ),
    "quora": (
        "classify",
        "{{ sentence1 }}\n{{ sentence2 }}",
        "{{ is_duplicate }}",
        {"train": "cs224n_dfp/quora_dev"},
    ),
    "dolly": ("generate", "{{ instruction }}", "{{ response }}", {"train": "dolly_partial/train_short"}),
    "dolly_cut": ("generate", "{{ instruction }}", "{{ response }}", {"train": "dolly_partial/train_maybe_cut"}),
    "gsm8k": ("number", "{{ question }}", "{{ answer }}", {"train": "gsm8k/train", "test": "gsm8k/test"}),
    "banking77": (
        "classify",
        "What does this customer want?\n\n{{ text }}",
        "{{ category }}",
        {"train": "banking77/train", "test": "banking77/test"},
    ),
    "pubmedqa": (
        "classify",
        "{{ context }}\n\n{{ question }}",
        "{{ label }}",
        {"train": "pubmedqa/train_dev", "test": "pubmedqa/test"},
    ),
    "bitext": ("generate", "{{ instruction }}", "{{ response }}", {"train": "bitext_support/train"}),
    "mmlu": (
        "classify",
        "{{ question }}\nA. {{ A }}\nB. {{ B }}\nC. {{ C }}\nD. {{ D }}",
        "{{ answer }}",
        {"train": "mmlu/dev", "validation": "mmlu/val", "test": "mmlu/test"},
    ),
    "toxicity": ("classify", "Is this toxic?\n\n{{ text }}", "{{ is_toxic }}", {"train": "toxicity_surge/all"}),
}


def read_set(folder: Path, name: str, role: Role = "task") -> AuditSet:
    """One of `SETS`, nothing left out of its splits; rows without an answer are passed over."""
    kind, prompt, answer, files = SETS[name]
    fields = {"name": name, "kind": kind, "prompt": prompt, "answer": answer, "data": {"train": "rows"}}
    task = Task(TaskConfig.model_validate(fields))
    splits: dict[Split, list[Example]] = {}
    for split, file in files.items():
        rows = [json.loads(line) for line in (folder / f"{file}.jsonl").read_text("utf-8").split("\n") if line]
        splits[split] = list(task.render(row for row in rows if _has_answer(row)))
    task.fit_labels(row.answer for row in splits["train"])
    return AuditSet(task, role, splits)


def _has_answer(row: Mapping[str, object]) -> bool:
    return all(value not in (None, "") for key, value in row.items() if key in ("answer", "label", "response"))


def audited(sets: list[AuditSet], check: Check) -> Audited:
    """What a check sees of some sets, with its own thresholds."""
    share = {one.name: 1 / len(sets) for one in sets}
    values = {name: threshold.value for name, threshold in check.thresholds.items()}
    return Audited(sets, Mixture([share]), 17, values)


def main() -> None:
    """Each set alone, then all of them as one mixture: findings by check, and a line for each."""
    folder = Path(os.environ["DATA"])
    sets = [
        read_set(folder, name) for name, (*_, files) in SETS.items() if (folder / f"{files['train']}.jsonl").exists()
    ]
    found: list[Finding] = []
    seconds: dict[str, float] = {}
    for check in CHECKS:
        began = time.monotonic()
        found += [one for one in check.find(audited(sets, check)) if isinstance(one, Finding)]
        seconds[check.name] = round(time.monotonic() - began, 1)
        print(check.name, seconds[check.name], flush=True)
    lines = [f"{one.severity}: {one.key}: {one.message}" for one in found]
    print(*lines, sep="\n")
    figures = {
        "rows": {one.name: one.sizes() for one in sets},
        "seconds": seconds,
        "findings": dict(Counter(one.check for one in found)),
        "found": [
            {"key": one.key, "severity": one.severity, "rows": one.rows, "of": one.of, "message": one.message}
            for one in found
        ],
    }
    record("audit_sets", COMMAND, figures)


if __name__ == "__main__":
    main()
