"""Which rule of choosing an adapter's step is best on test: every look of a run is answered on validation and on test.

`make bench PART=choose_step`: the demo's single-task adapters (SEEDS=17,18,19, six LOOKS each), then each rule on the
same looks. A rule sees validation rows alone; what it chose is measured on test rows. RAW=file keeps the looks, and
takes them from there when it exists.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.record import record
from multitune.config.load import load_config
from multitune.core.events import EventLog, unwatched
from multitune.core.null_margin import null_margins
from multitune.core.run_folder import RunFolder
from multitune.inference.local import LocalModel
from multitune.inference.predict import predict_task
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.training.job import Job, _learner  # pyright: ignore[reportPrivateUsage]
from multitune.training.learner import Learner
from multitune.training.prepare import prepare_run

COMMAND = "make bench PART=choose_step"
DEMO = Path(__file__).parent.parent / "examples" / "finance" / "demo.yaml"
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "17,18,19").split(",")]
LOOKS = int(os.environ.get("LOOKS", "6"))
TASKS = ("tweets", "entities", "intents")  # reports costs as much as all others, and learns nothing at this length
RESAMPLES = 1000
Look = dict[str, dict[str, Any]]  # task -> validation scores and losses by row, and the test score


@dataclass(slots=True)
class _LookingJob(Job):
    """A job that answers validation and test rows at every look, and keeps no snapshot."""

    looks: dict[str, dict[int, Look]] = field(default_factory=dict[str, dict[int, Look]])

    def validate(self, learner: Learner) -> None:
        if not learner.trained_steps:
            learner.track.start = dict.fromkeys(learner.spec.tasks, 1.0)
            return  # untrained
        model = LocalModel(self.bank, learner.name, self.run.chat, self.run.config)
        look: Look = {}
        for task in learner.spec.tasks:
            item, seed = self.run.tasks[task], self.run.config.seed
            held = predict_task(model, item, "validation", seed=seed)
            test = predict_task(model, item, "test", seed=seed)
            look[task] = {
                "scores": [row.score for row in held],
                "losses": [row.loss for row in held],
                "test": item.data.task.score(test).value,
            }
        self.looks.setdefault(learner.name, {})[learner.trained_steps] = look
        print(learner.name, learner.trained_steps, {task: round(one["test"], 3) for task, one in look.items()})

    def checkpoint(self, step: int) -> None:
        pass


def main() -> None:
    """Look, choose, measure, record."""
    raw = Path(os.environ.get("RAW", "looks.json"))
    runs = json.loads(raw.read_text("utf-8")) if raw.is_file() else {}
    for seed in SEEDS:
        if str(seed) not in runs:
            runs[str(seed)] = looks_of(seed)
            raw.write_text(json.dumps(runs), "utf-8")
    cases = [case for run in runs.values() for case in run.values()]
    figures: dict[str, Any] = {"seeds": sorted(map(int, runs)), "looks": LOOKS, "adapters": len(cases), "rules": {}}
    for name, rule in RULES.items():
        chosen = [(looks, rule(looks)) for looks in cases]
        test = [fmean(one["test"] for one in looks[step].values()) for looks, step in chosen]
        best = [max(fmean(one["test"] for one in look.values()) for look in looks.values()) for looks, _ in chosen]
        last = sum(step == max(looks, key=int) for looks, step in chosen)
        figures["rules"][name] = {
            "test": round(fmean(test), 4),
            "behind_best": round(fmean(best) - fmean(test), 4),
            "worst_regret": round(max(b - t for b, t in zip(best, test, strict=True)), 4),
            "last_step": last,
        }
    print(json.dumps(figures, indent=2))
    record("choose_step", COMMAND, figures)


def looks_of(seed: int) -> dict[str, dict[str, Look]]:
    """Adapter -> step -> what it answered there."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(DEMO, [f"output={folder}", f"seed={seed}"])
        tasks = tuple(task for task in config.tasks if task.name in TASKS)
        plain = prepare_run(config.model_copy(update={"tasks": tasks, "adapters": "per_task"}))
        run = RunFolder(Path(folder) / "looks")
        run.path.mkdir()
        bank = AdapterBank(load_backbone(plain.ref, plain.config.device, plain.config.dtype))
        learners = [_spread(_learner(bank, plain, plan)) for plan in plain.plans]
        log = EventLog(run.events, unwatched)
        log.open(keep=0)
        job = _LookingJob(plain, run, unwatched, bank, learners, log)
        job.run_phases()
        log.close()
    return {name: {str(step): look for step, look in looks.items()} for name, looks in job.looks.items()}


def _spread(learner: Learner) -> Learner:
    learner.validate_every = max(1, round(learner.spec.steps / LOOKS))
    return learner


def _leads(looks: Mapping[str, Look], what: str, rows: int | None = None) -> dict[str, list[np.ndarray]]:
    """Step -> for each task the lead of its rows over those of the last step; higher is better."""
    last = max(looks, key=int)
    sign = 1.0 if what == "scores" else -1.0
    return {
        step: [
            sign * (np.array(one[what][:rows]) - np.array(looks[last][task][what][:rows]))
            for task, one in look.items()
        ]
        for step, look in looks.items()
    }


def _mean(leads: list[np.ndarray]) -> float:
    return float(np.mean([lead.mean() for lead in leads]))


def _best(leads: Mapping[str, list[np.ndarray]]) -> str:
    """The step with the highest mean; the latest of equals."""
    return max(leads, key=lambda step: (_mean(leads[step]), int(step)))


def _beyond_noise(leads: Mapping[str, list[np.ndarray]]) -> list[str]:
    """Steps whose lead over the last is larger than the largest of as many equal ones shows in one case of twenty."""
    rng = np.random.default_rng(17)
    sizes = [len(lead) for lead in next(iter(leads.values()))]
    draws = [[rng.integers(0, size, size) for size in sizes] for _ in range(RESAMPLES)]
    drawn = {
        step: np.array([np.mean([lead[rows].mean() for lead, rows in zip(of, draw, strict=True)]) for draw in draws])
        for step, of in leads.items()
    }
    means = {step: _mean(of) for step, of in leads.items()}
    margins = null_margins(np.array([drawn[step] for step in leads]), np.array([means[step] for step in leads]))
    return [step for step, margin in zip(leads, margins, strict=True) if means[step] > margin]


def _last(looks: Mapping[str, Look]) -> str:
    return max(looks, key=int)


def _lowest_loss(looks: Mapping[str, Look], rows: int | None = None) -> str:
    return _best(_leads(looks, "losses", rows))


def _highest_score(looks: Mapping[str, Look], rows: int | None = None) -> str:
    scores, losses = _leads(looks, "scores", rows), _leads(looks, "losses", rows)
    return max(looks, key=lambda step: (_mean(scores[step]), _mean(losses[step])))


def _safely(looks: Mapping[str, Look], what: str, rows: int | None = None) -> str:
    leads = _leads(looks, what, rows)
    ahead = _beyond_noise(leads)
    return _best({step: leads[step] for step in ahead}) if ahead else _last(looks)


def _safely_both(looks: Mapping[str, Look], rows: int | None = None) -> str:
    """By score beyond noise; else by loss beyond noise among steps whose score is not behind; else the last."""
    scores, losses = _leads(looks, "scores", rows), _leads(looks, "losses", rows)
    if ahead := _beyond_noise(scores):
        return _best({step: scores[step] for step in ahead})
    ahead = [step for step in _beyond_noise(losses) if _mean(scores[step]) >= 0.0]
    return _best({step: losses[step] for step in ahead}) if ahead else _last(looks)


RULES: dict[str, Callable[[Mapping[str, Look]], str]] = {
    "last": _last,
    "lowest loss, 16 rows": lambda looks: _lowest_loss(looks, 16),
    "lowest loss": _lowest_loss,
    "highest score, 16 rows": lambda looks: _highest_score(looks, 16),
    "highest score": _highest_score,
    "loss beyond noise, 16 rows": lambda looks: _safely(looks, "losses", 16),
    "loss beyond noise": lambda looks: _safely(looks, "losses"),
    "score beyond noise, 16 rows": lambda looks: _safely(looks, "scores", 16),
    "score beyond noise": lambda looks: _safely(looks, "scores"),
    "score, then loss, beyond noise": _safely_both,
    "score, then loss, beyond noise, 16 rows": lambda looks: _safely_both(looks, 16),
}


if __name__ == "__main__":
    main()
