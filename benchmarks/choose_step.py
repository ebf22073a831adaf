"""Which rule of choosing an adapter's step is best on test: every look of a run is answered on validation and on test.

`make bench PART=choose_step`: the team example for EPOCHS=4 passes, one adapter per task and one for all (six LOOKS
each, SEEDS=17,18,19), then each rule on the same looks. A rule sees validation rows alone; what it chose is measured
on test rows. RAW=file keeps the looks, and takes them from there when it exists.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from multitune.training.compute import LocalCompute
from multitune.training.job import Job, new_learner
from multitune.training.learner import Learner
from multitune.training.prepare import prepare_run

COMMAND = "make bench PART=choose_step"
TEAM = Path(__file__).parent.parent / "examples" / "team" / "team.yaml"
EPOCHS = os.environ.get("EPOCHS", "4")  # past the best step, if there is one: the example itself trains for one pass
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "17,18,19").split(",")]
LOOKS = int(os.environ.get("LOOKS", "6"))
RESAMPLES = 1000
Look = dict[str, dict[str, Any]]  # task -> validation scores and losses by row, and the test score
Looks = dict[str, Look]  # step -> what was seen there


@dataclass(slots=True)
class _LookingJob(Job):
    """A job that answers validation and test rows at every look, and keeps no snapshot."""

    looks: dict[str, Looks] = field(default_factory=dict[str, Looks])

    def validate(self, learner: Learner) -> None:
        if not learner.trained_steps:
            learner.track.start = dict.fromkeys(learner.spec.tasks, 1.0)
            return  # untrained
        model = LocalModel(self.compute.bank, learner.name, self.run.chat, self.run.config)
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
        self.looks.setdefault(learner.name, {})[str(learner.trained_steps)] = look
        print(
            learner.name,
            learner.trained_steps,
            {task: round(one["test"], 3) for task, one in look.items()},
            flush=True,
        )

    def checkpoint(self, step: int) -> None:
        pass


def main() -> None:
    """Look, choose, measure, record."""
    raw = Path(os.environ.get("RAW", "looks.json"))
    runs: dict[str, dict[str, Looks]] = json.loads(raw.read_text("utf-8")) if raw.is_file() else {}
    for seed in SEEDS:
        if str(seed) not in runs:
            runs[str(seed)] = looks_of(seed)
            raw.write_text(json.dumps(runs), "utf-8")
    adapters = [looks for run in runs.values() for looks in run.values()]
    shared = [looks for looks in adapters if len(_tasks(looks)) > 1]
    figures = {
        "seeds": sorted(map(int, runs)),
        "epochs": int(EPOCHS),
        "looks": LOOKS,
        "adapters of one task": by_rule([looks for looks in adapters if len(_tasks(looks)) == 1]),
        "the shared adapter": by_rule(shared),
        "the shared adapter, a step for each task": by_rule([_of(x, task) for x in shared for task in _tasks(x)]),
    }
    print(json.dumps(figures, indent=2))
    record("choose_step", COMMAND, figures)


def by_rule(cases: Sequence[Looks]) -> dict[str, dict[str, float]]:
    """What each rule keeps of each case: its mean score on test, and how far that is behind the best look."""
    found: dict[str, dict[str, float]] = {}
    for name, rule in RULES.items():
        steps = [rule(looks) for looks in cases]
        test = [_test(looks[step]) for looks, step in zip(cases, steps, strict=True)]
        behind = [max(map(_test, looks.values())) - score for looks, score in zip(cases, test, strict=True)]
        found[name] = {
            "cases": len(cases),
            "test": round(fmean(test), 4),
            "behind_best": round(fmean(behind), 4),
            "worst_regret": round(max(behind), 4),
            "last_step": sum(step == _last(looks) for looks, step in zip(cases, steps, strict=True)),
        }
    return found


def _test(look: Look) -> float:
    return fmean(one["test"] for one in look.values())


def _tasks(looks: Looks) -> list[str]:
    return list(looks[_last(looks)])


def _of(looks: Looks, task: str) -> Looks:
    return {step: {task: look[task]} for step, look in looks.items()}


def looks_of(seed: int) -> dict[str, Looks]:
    """Adapter -> step -> what it answered there."""
    with tempfile.TemporaryDirectory() as folder:
        plain = prepare_run(
            load_config(TEAM, [f"output={folder}", f"seed={seed}", "seeds=1", f"train.epochs={EPOCHS}"])
        )
        run = RunFolder(Path(folder) / "looks")
        run.path.mkdir()
        bank = AdapterBank(load_backbone(plain.ref, plain.config.device, plain.config.dtype))
        learners = [_spread(new_learner(bank, plain, plan)) for plan in plain.plans]
        log = EventLog(run.events, unwatched)
        log.open(keep=0)
        job = _LookingJob(plain, run, unwatched, LocalCompute(bank, plain), learners, log)
        job.run_phases()
        log.close()
    return job.looks


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
