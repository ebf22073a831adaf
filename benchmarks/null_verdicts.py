"""How often a verdict is wrong where all arms are equal, and how often it is right where they are not.

`make bench PART=null_verdicts`: one adapter per task of the demo, trained with SEEDS seeds and nothing else different;
every one answers the test rows. A family compares, for every task, N of these trainings with N others: nothing was
done differently, so every verdict is false. For the power, wrong answers of one side are turned into right ones, at
random, until its true score is 2, 5 or 10 points higher, and rows are drawn with replacement up to the number of a
usual test set. The rule of the older versions, a bootstrap that draws the seeds as well, is measured beside it.

SIMULATED=0.2,0.8 takes no model: rows of different difficulty, and trainings that differ by that much (in units in
which the difficulties differ by 2), recorded as null_verdicts_simulated.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import record
from multitune.config.load import load_config
from multitune.core.multiplicity import holm
from multitune.core.records import Prediction
from multitune.core.results.scores import GAINED, LOST
from multitune.core.run_folder import RunFolder
from multitune.evaluation.stats import BootstrapPlan, least_p
from multitune.evaluation.subjects import open_subjects
from multitune.evaluation.transfer import Arms, compare_seeds
from multitune.inference.predict import predict_task
from multitune.tasks.metrics import METRICS
from multitune.training.job import train_run
from multitune.training.prepare import prepare_run

COMMAND = "make bench PART=null_verdicts"
DEMO = Path(__file__).parent.parent / "examples" / "team" / "team.yaml"
SEEDS = int(os.environ.get("SEEDS", "12"))
FAMILIES = int(os.environ.get("FAMILIES", "300"))  # for each number of seeds
ROWS = int(os.environ.get("ROWS", "300"))  # of a test set, in the tests of power
PLAN = BootstrapPlan(resamples=400, margin=0.02)
TESTED = int(os.environ.get("TESTED", "60"))  # test rows that are answered
BUDGET = ("adapters=per_task", "train.epochs=0.5", "train.keep=last", "train.validate_limit=1")
Right = dict[str, np.ndarray]  # task -> right or wrong, bool (seed, row)


def main() -> None:
    """Train, read what was trained, or simulate, and record."""
    if noises := os.environ.get("SIMULATED"):
        record("null_verdicts_simulated", COMMAND, {n: figures(simulated(float(n))) for n in noises.split(",")})
        return
    raw = Path(os.environ.get("RAW", "null_verdicts.json"))
    if not raw.is_file():
        raw.write_text(json.dumps(trained()), "utf-8")
    read = json.loads(raw.read_text("utf-8"))
    right = {task: np.array([[c == "1" for c in row] for row in rows]) for task, rows in read.items()}
    record("null_verdicts", COMMAND, figures(right))


def figures(right: Right) -> dict[str, Any]:
    """How much trainings differ, and how often verdicts are wrong and right."""
    accuracy = {task: rows.mean(axis=1) for task, rows in right.items()}
    found: dict[str, Any] = {
        "seeds": len(next(iter(right.values()))),
        "rows": {task: rows.shape[1] for task, rows in right.items()},
        "mean": {task: round(float(scores.mean()), 3) for task, scores in accuracy.items()},
        "sd_between_seeds": {task: round(float(scores.std(ddof=1)), 3) for task, scores in accuracy.items()},
        "families": FAMILIES,
        "null": {f"{n} seeds": null(right, n) for n in (1, 2, 3, 5)},
        "power": {f"{n} seeds": power(right, n) for n in (1, 3, 5)},
    }
    print(json.dumps(found, indent=2))
    return found


def simulated(noise: float, tasks: int = 4, trainings: int = 60) -> Right:
    """Answers of trainings that differ by nothing but their noise."""
    random = np.random.default_rng(17)
    right: Right = {}
    for task in range(tasks):
        difficulty = 2.0 * random.normal(size=ROWS)
        training, row = noise * random.normal(size=(trainings, 1)), random.normal(size=(trainings, ROWS))
        right[f"task{task}"] = difficulty + training + row + 0.5 > 0.0
    return right


def trained() -> dict[str, list[str]]:
    """Task -> for each seed the test rows as 1 (right) and 0."""
    with tempfile.TemporaryDirectory() as output:
        run = prepare_run(load_config(DEMO, [*BUDGET, f"seeds={SEEDS}", f"output={output}"]))
        folder = RunFolder(Path(output) / run.config.name)
        backbone = train_run(run, folder)
        found: dict[str, list[str]] = {task: [] for task in run.tasks}
        tasks = {plan.spec.name: plan.spec.tasks[0] for plan in run.plans}
        for subject in open_subjects(run, folder, backbone)[1:]:
            task = tasks[subject.name]
            answers = predict_task(subject.model, run.tasks[task], "test", seed=run.config.seed, limit=TESTED)
            found[task].append("".join(str(int(one.score)) for one in sorted(answers, key=lambda one: one.id)))
            print(subject.name, np.mean([one.score for one in answers]))
        return found


def null(right: Right, seeds: int) -> dict[str, float]:
    """Share of families of verdicts that name any task, where nothing differs."""
    random = np.random.default_rng(seeds)
    families = [family(right, seeds, random) for _ in range(FAMILIES)]
    return {
        "named": round(float(np.mean([any(verdicts(arms)) for arms in families])), 3),
        "named, seeds drawn by the bootstrap": round(float(np.mean([older(arms) for arms in families])), 3),
        "no worse by 2 points, per task": round(float(np.mean([no_worse(arms) for arms in families])), 3),
    }


def power(right: Right, seeds: int) -> dict[str, dict[str, float]]:
    """Share of tasks whose true gain is named, and of those that are called a loss."""
    found: dict[str, dict[str, float]] = {}
    for points in (2, 5, 10):
        random = np.random.default_rng(points)
        named = [verdicts(family(right, seeds, random, points / 100, ROWS)) for _ in range(FAMILIES // 3)]
        found[f"{points} points"] = {
            "named": round(float(np.mean([side > 0 for sides in named for side in sides])), 3),
            "called a loss": round(float(np.mean([side < 0 for sides in named for side in sides])), 3),
        }
    return found


def family(
    right: Right, seeds: int, random: np.random.Generator, gain: float = 0.0, rows: int | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every task the answers of some trainings and of as many others, bool (seed, row) each."""
    arms: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for task, answers in right.items():
        order = random.permutation(len(answers))
        drawn = random.integers(0, answers.shape[1], rows) if rows else np.arange(answers.shape[1])
        one, other = (answers[order[part * seeds : (part + 1) * seeds]][:, drawn] for part in (0, 1))
        wrong = 1.0 - float(answers.mean())
        arms[task] = one, other | (random.random(other.shape) < gain / wrong)
    return arms


def verdicts(arms: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[int]:
    """1 where a task is named a gain, -1 where a loss, else 0."""
    table = compare_seeds(_predictions(arms), dict.fromkeys(arms, METRICS["accuracy"]), PLAN)
    return [(row.verdict in GAINED) - (row.verdict in LOST) for row in table.tasks]


def no_worse(arms: dict[str, tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of the tasks on which a loss of two points is ruled out, rightly."""
    table = compare_seeds(_predictions(arms), dict.fromkeys(arms, METRICS["accuracy"]), PLAN)
    return len(table.summary.no_worse) / len(table.tasks)


def older(arms: dict[str, tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether a bootstrap over seeds and rows alike, as older versions had, names any task."""
    random, p_values = np.random.default_rng(17), dict[str, float]()
    for task, (one, other) in arms.items():
        gains = other.astype(float) - one  # (seed, row)
        seeds, rows = gains.shape
        times = random.multinomial(rows, np.full(rows, 1 / rows), PLAN.resamples) / rows
        by_seed = gains @ times.T  # (seed, resample)
        drawn = by_seed[random.integers(0, seeds, (PLAN.resamples, seeds)).T, np.arange(PLAN.resamples)].mean(axis=0)
        tail = 2.0 * min(np.mean(drawn <= 0), np.mean(drawn >= 0))
        p_values[task] = min(1.0, max(tail, least_p(PLAN.resamples, int((gains != 0).any(0).sum()))))
    return min(holm(p_values).values()) < 1.0 - PLAN.confidence


def _predictions(arms: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, list[Arms]]:
    def rows(task: str, answers: np.ndarray) -> list[Prediction]:
        return [Prediction(task, f"{i:05d}", str(ok), bool(ok), True, float(ok)) for i, ok in enumerate(answers)]

    return {
        task: [Arms(rows(task, a), rows(task, b)) for a, b in zip(one, other, strict=True)]
        for task, (one, other) in arms.items()
    }


if __name__ == "__main__":
    main()
