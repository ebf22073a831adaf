"""What the rule of selection gains on test: each task and seed of a finished study chooses by validation rows.

`make bench PART=shipping NAME=finance DATA=folder`, after PART=studies: all tasks together stand for the shared
adapter; other mixtures, and the task alone at both budgets, are the other candidates. Nothing is trained.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.record import record
from benchmarks.studies import recorded_study
from multitune.core.bases import BASE
from multitune.core.files import read_json
from multitune.core.records import Prediction
from multitune.deployment.select import Candidate, choose
from multitune.evaluation.resampling import corpus_score
from multitune.evaluation.stats import BootstrapPlan
from multitune.study.arms import load_predictions
from multitune.study.plan import baselines
from multitune.study.runner import StudyRunner
from multitune.study.study import open_runner

COMMAND = "make bench PART=shipping NAME=finance DATA=folder"
PLAN = BootstrapPlan(resamples=1000)
Answers = dict[str, list[Prediction]]


def main() -> None:
    """Every task and seed under three rules."""
    with recorded_study(os.environ["NAME"]) as (study, run):
        runner = open_runner(study, run)
    arms = [arm for arm in read_json(runner.folder.findings)["arms"] if arm.get("test")]
    cases = [
        case for task in runner.planner.tasks for seed in study.seeds if (case := _case(runner, arms, task, seed))
    ]
    rules = {rule: [case[rule] for case in cases] for rule in ("shared", "by_score", "by_score_and_loss", "best")}
    figures = {"study": study.name, "mean": {rule: float(np.mean(scores)) for rule, scores in rules.items()}}
    print(figures)
    record("shipping", COMMAND, {**figures, "cases": cases})


def _case(runner: StudyRunner, arms: Sequence[dict[str, Any]], task: str, seed: int) -> dict[str, Any] | None:
    """Test scores of what ships for one task by each rule, or None where no mixture of all tasks has this seed."""
    mine = [arm for arm in arms if task in arm["tasks"] and arm["seed"] == seed and task in arm["test"]]
    by_name = {f"{arm['name']}, {arm['budget']}": arm["key"] for arm in mine}
    shared = f"{' + '.join(runner.planner.tasks)}, together"
    if shared not in by_name:
        return None
    base = next(arm for arm in baselines(runner.planner).base if arm.tasks == (task,))
    keys = {BASE: runner.key(base), **by_name}
    held, test = (_answers(runner, keys, task, split) for split in ("validation", "test"))
    few = [Candidate(BASE, "base", 0)]
    few += [Candidate(name, "shared" if name == shared else "alone", 1) for name in by_name]
    metric = runner.prepared.tasks[task].data.task.metric
    silent = {name: [replace(row, loss=None) for row in rows] for name, rows in held.items()}
    scores = {name: corpus_score(metric, rows) for name, rows in test.items()}
    by_score, by_both = (choose(metric, few, answers, PLAN).adapter for answers in (silent, held))
    return {
        "task": task,
        "seed": seed,
        "shared": scores[shared],
        "by_score": scores[by_score],
        "by_score_and_loss": scores[by_both],
        "best": max(scores.values()),
        "ships": by_both,
    }


def _answers(runner: StudyRunner, keys: dict[str, str], task: str, split: Any) -> Answers:
    """Candidate -> its answers in the order of the rows."""
    return {
        name: sorted(load_predictions(runner.folder, key, task, split), key=lambda row: row.id)
        for name, key in keys.items()
    }


if __name__ == "__main__":
    main()
