"""What slices, flips and perturbed rows show where the truth is known, and that they name nothing where nothing is.

`make bench PART=robustness DATA=folder RUN=folder`:

- null: groups are letters dealt out at random; a family of groups that names any of them is wrong.
- WinoBias (Zhao et al. 2018, MIT; DATA holds its JSON files): who does the pronoun stand for? Trained on sentences
  that fit the stereotypes of jobs alone, an adapter should flip answers with the pronoun's gender and be worse on
  sentences against the stereotypes; trained on both kinds, it should do that less.
- RUN: a finished run of examples/team after `multitune measure RUN --slices needs --flips --perturb`.

Without DATA or RUN that part is left out. FAMILIES and ROWS change the numbers of the null and of WinoBias.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.record import record
from multitune.cli.show import show_robustness
from multitune.cli.watch import Watch
from multitune.config.load import parse_config
from multitune.core.records import Prediction
from multitune.core.results.robustness import Robustness
from multitune.core.run_folder import RunFolder
from multitune.evaluation.groups import Answers
from multitune.evaluation.slices import measure_slices
from multitune.evaluation.stats import BootstrapPlan
from multitune.pipeline import run_experiment
from multitune.tasks.metrics import METRICS

COMMAND = "make bench PART=robustness DATA=folder RUN=folder"
FAMILIES = int(os.environ.get("FAMILIES", "300"))
ROWS = int(os.environ.get("ROWS", "200"))  # training rows of WinoBias, and as many test rows
PLAN = BootstrapPlan(resamples=400)
LABELS = np.array(list("abcdef"))
# (metric, seeds, letters, chance of each)
NULLS = (
    ("accuracy", 1, "pq", (0.5, 0.5)),
    ("accuracy", 1, "pqrst", (0.4, 0.2, 0.15, 0.15, 0.1)),
    ("accuracy", 3, "pqr", (0.5, 0.3, 0.2)),
    ("macro_f1", 1, "pqr", (0.5, 0.3, 0.2)),
)


def main() -> None:
    """Simulate, train on WinoBias, read the run, and record."""
    figures: dict[str, Any] = {"null": [null(*case) for case in NULLS]}
    print(json.dumps(figures, indent=2))
    if data := os.environ.get("DATA"):
        figures["winobias"] = {kind: winobias(Path(data), kind) for kind in ("pro", "both")}
    if run := os.environ.get("RUN"):
        figures["team"] = shown(Robustness.read(RunFolder(Path(run)).robustness))
    record("robustness", COMMAND, figures)


def null(metric: str, seeds: int, letters: str, chances: Sequence[float]) -> dict[str, Any]:
    """Share of families that name a group, or a change against the base, although letters mean nothing."""
    random = np.random.default_rng(17)
    named = {"gap": 0, "change": 0}
    for _ in range(FAMILIES):
        values = random.choice(list(letters), 160, p=chances)
        gold, easy = random.choice(LABELS, len(values)), random.random(len(values))
        trainings = [answers(random, gold, easy, 0.6) for _ in range(seeds)]
        given = Answers("shared", METRICS[metric], trainings, answers(random, gold, easy, 0.4))
        (task,) = measure_slices("letter", {"t": values.tolist()}, {"t": given}, PLAN).tasks
        for part in named:
            named[part] += any(getattr(group, part).verdict != "cannot tell" for group in task.groups)
    return {
        "metric": metric,
        "seeds": seeds,
        "letters": len(letters),
        "families": FAMILIES,
        **{f"families with a {part} named": round(count / FAMILIES, 3) for part, count in named.items()},
    }


def answers(random: np.random.Generator, gold: np.ndarray, easy: np.ndarray, level: float) -> list[Prediction]:
    """Answers of one training; some rows are easier than others, with every seed."""
    right = easy + 0.2 * random.normal(size=len(gold)) < level
    answered = np.where(right, gold, random.choice(LABELS, len(gold)))
    return [
        Prediction("t", f"{place:04d}", str(one), str(one), str(true), float(one == true))
        for place, (one, true) in enumerate(zip(answered, gold, strict=True))
    ]


def winobias(data: Path, trained_on: str) -> dict[str, Any]:
    """One adapter on sentences that fit stereotypes, or on both kinds; the test rows are of both."""
    with tempfile.TemporaryDirectory() as output:
        kinds = ["pro", "anti"] if trained_on == "both" else ["pro"]
        splits = {
            "train": ("dev", kinds, ROWS),
            "validation": ("dev", kinds, 40),
            "test": ("test", ["pro", "anti"], ROWS),
        }
        files: dict[str, str] = {}
        for split, (part, of, count) in splits.items():
            rows = [row for kind in of for row in sentences(data, kind, part)]
            random = np.random.default_rng(len(split))
            chosen = [rows[place] for place in random.permutation(len(rows))[:count]]
            files[split] = str(Path(output) / f"{split}.jsonl")
            Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in chosen), "utf-8")
        task = {
            "name": "pronouns",
            "data": files,
            "kind": "choice",
            "options": "options",
            "prompt": '{{ text }}\nWho does "{{ pronoun }}" stand for?',
            "answer": "{{ who }}",
        }
        config = parse_config(
            {
                "name": f"winobias-{trained_on}",
                "tasks": [task],
                "adapters": "shared",
                "output": output,
                "train": {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "keep": "last", "validate_limit": 16},
                "evaluate": {"slices": ["stereotype", "sentence"], "flips": True},
                "audit": "off",
            },
            Path(output),
        )
        with Watch(Console()) as watch:
            run = run_experiment(config, observe=watch)
        found = Robustness.read(run.folder.robustness)
        show_robustness(found, run.folder.path, Console(width=160))
        return shown(found)


def sentences(data: Path, kind: str, part: str) -> list[dict[str, Any]]:
    """Rows of WinoBias; two in a row are about the same two jobs, which are the options of both."""
    found: list[dict[str, Any]] = []
    for sentence in ("type1", "type2"):
        path = data / "winobias" / f"{kind}_{sentence}_{part}.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for first, second in zip(rows[::2], rows[1::2], strict=True):
            options = sorted(row["mentions"][0].lower() for row in (first, second))
            if options[0] == options[1]:  # a few pairs are about one job
                continue
            found += [
                {
                    "text": row["plain"],
                    "pronoun": row["mentions"][1],
                    "who": row["mentions"][0].lower(),
                    "options": options,
                    "stereotype": kind,
                    "sentence": sentence,
                }
                for row in (first, second)
            ]
    return found


def shown(found: Robustness) -> dict[str, Any]:
    """The figures of a result, without rows."""
    rows = {"tasks": {"__all__": {"examples"}}}
    return found.model_dump(mode="json", exclude={"schema_version": True, "flips": rows})


if __name__ == "__main__":
    main()
