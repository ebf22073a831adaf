"""What a rule of selection costs and saves: a finished run's test answers, cut again and again into rows to choose by
and rows to report on.

`make bench PART=selection RUN=folder`: draws 40 rows of each task to choose by. `noise` draws every candidate's answer
to a row from all that were given to it, so that eight candidates are equally good: what then ships is chance.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import record
from multitune.config.adapters import expand_adapters
from multitune.config.load import load_config
from multitune.core.bases import BASE
from multitune.core.predictions import read_predictions
from multitune.core.records import Prediction
from multitune.core.run_folder import RunFolder
from multitune.core.seeds import generator
from multitune.deployment.homes import candidates_of
from multitune.deployment.select import Candidate, choose
from multitune.evaluation.resampling import corpus_score, resampled
from multitune.evaluation.stats import BootstrapPlan
from multitune.model.files import WEIGHTS
from multitune.tasks.metrics import METRICS, Metric

COMMAND = "make bench PART=selection RUN=folder"
ROWS, DRAWS, NOISE_DRAWS, PLAN = 40, 30, 200, BootstrapPlan(resamples=100)
MEANS = ("accuracy", "numeric_match")  # metrics that are quickly resampled: noise is drawn for these alone
Answers = dict[str, list[Prediction]]
Rule = Callable[[Metric, Sequence[Candidate], Answers], str]


def main() -> None:
    """Every rule on every task, as answered and as noise."""
    folder = RunFolder(Path(os.environ["RUN"])).require()
    cases = {task: (metric, few, answers) for task, metric, few, answers in tasks_of(folder)}
    rules: dict[str, Rule] = {"one standard error": one_standard_error, "null margin": null_margin, "shared": shared}
    figures: dict[str, Any] = {"rows": ROWS, "draws": DRAWS, "run": folder.path.name, "rules": {}}
    for label, rule in rules.items():
        figures["rules"][label] = {
            "as_answered": {task: trial(rule, *case) for task, case in cases.items()},
            "noise": {task: by_chance(rule, *case) for task, case in cases.items() if case[0].name in MEANS},
        }
        print(label, json.dumps(figures["rules"][label], indent=2))
    record("selection", COMMAND, figures)


def tasks_of(folder: RunFolder) -> list[tuple[str, Metric, list[Candidate], Answers]]:
    """Each task with enough rows, its candidates, and their answers, row by row."""
    config = load_config(folder.config)
    names = [adapter.name for adapter in expand_adapters(config)]
    sizes = {name: (folder.adapter(name) / WEIGHTS).stat().st_size for name in names}
    scores = json.loads(folder.scores.read_text("utf-8"))
    found: list[tuple[str, Metric, list[Candidate], Answers]] = []
    for task, row in scores["tasks"].items():
        few = [one for one in candidates_of(config, sizes) if one.name in row["scores"]]
        answers = {one.name: read_predictions(folder.predictions(one.name, task, scores["split"])) for one in few}
        if len(answers[BASE]) > ROWS:
            found.append((task, METRICS[row["metric"]], few, answers))
    return found


def trial(rule: Rule, metric: Metric, few: Sequence[Candidate], answers: Answers) -> dict[str, float]:
    """Mean score of what the rule ships on the rows it did not see, against the base's and the best one's."""
    random = generator(17, "selection")
    rows: list[tuple[float, float, float]] = []
    for _ in range(DRAWS):
        order = random.permutation(len(answers[BASE]))
        chosen = rule(metric, few, taken(answers, order[:ROWS]))
        rest = {name: corpus_score(metric, one) for name, one in taken(answers, order[ROWS:]).items()}
        rows.append((rest[chosen], rest[BASE], max(rest.values())))
    ships, base, best = np.array(rows).T
    return {
        "ships": round(float(ships.mean()), 4),
        "base": round(float(base.mean()), 4),
        "best": round(float(best.mean()), 4),
        "worse_than_base_by_5_points": round(float((ships < base - 0.05).mean()), 3),
    }


def by_chance(rule: Rule, metric: Metric, few: Sequence[Candidate], answers: Answers) -> float:
    """How often another than the shared adapter or the base ships where eight candidates are equally good."""
    random = generator(17, "noise")
    many = [*few, *(Candidate(f"extra {i}", "group", few[-1].parameters) for i in range(8 - len(few)))]
    keep = {one.name for one in many if one.role in ("base", "shared")}
    arms = list(answers.values())
    others = 0
    for _ in range(NOISE_DRAWS):
        places = random.permutation(len(answers[BASE]))[:ROWS]
        noise = {one.name: [arms[random.integers(len(arms))][place] for place in places] for one in many}
        others += rule(metric, many, noise) not in keep
    return round(others / NOISE_DRAWS, 3)


def taken(answers: Answers, places: np.ndarray) -> Answers:
    return {name: [rows[place] for place in places] for name, rows in answers.items()}


def null_margin(metric: Metric, few: Sequence[Candidate], answers: Answers) -> str:
    return choose(metric, few, answers, PLAN).adapter


def shared(metric: Metric, few: Sequence[Candidate], answers: Answers) -> str:
    return next(one.name for one in few if one.role == "shared")


def one_standard_error(metric: Metric, few: Sequence[Candidate], answers: Mapping[str, list[Prediction]]) -> str:
    """The rule before: the shared one if within one standard error of the best, else the smallest that is."""
    stays = next(one.name for one in few if one.role == "shared")
    score = {one.name: corpus_score(metric, answers[one.name]) for one in few}
    size = {one.name: one.parameters for one in few}
    best = max(score, key=lambda name: (score[name], name == stays, -size[name]))
    level = [
        name
        for name in score
        if score[best] - score[name] <= resampled(metric, answers[name], answers[best], PLAN)[0].std()
    ]
    return stays if stays in level else min(level, key=lambda name: (size[name], -score[name]))


if __name__ == "__main__":
    main()
