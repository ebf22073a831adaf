"""The same rows with sum, FAMO and PCGrad: scores and losses of each task, and what a step costs."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console

from benchmarks.kill_and_resume import read_events
from benchmarks.record import record
from multitune.cli.watch import Watch
from multitune.config.load import load_config
from multitune.core.files import read_json
from multitune.core.predictions import read_predictions
from multitune.core.run_folder import RunFolder
from multitune.evaluation.stats import bootstrap_plan
from multitune.evaluation.transfer import Arms, compare
from multitune.pipeline import run_experiment
from multitune.training.prepare import PreparedRun, prepare_run

CONFIG = Path(__file__).parent.parent / "examples" / "finance" / "demo.yaml"
COMMAND = "make bench PART=balance"
SMALL = ["adapters=shared", "train.max_steps=60", "train.validate_limit=8", "evaluate.limit=60"]
KINDS = ("sum", "famo", "pcgrad")


def main() -> None:
    """Run the three, compare the other two with the sum, record."""
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, RunFolder] = {}
        for kind in KINDS:
            config = load_config(CONFIG, [*SMALL, f"output={folder}", f"name={kind}", f"train.balance={kind}"])
            with Watch(Console()) as watch:
                runs[kind] = run_experiment(config, observe=watch)
        prepared = prepare_run(config)
        against_sum = {kind: differences(prepared, runs["sum"], runs[kind]) for kind in KINDS[1:]}
        record("balance", COMMAND, {"runs": {k: figures(run) for k, run in runs.items()}, "against_sum": against_sum})


def figures(run: RunFolder) -> dict[str, Any]:
    """Scores and losses on the test rows, the median step's time, and what the balancing says of itself."""
    scores = read_json(run.scores)
    steps = [event for event in read_events(run.events) if event["kind"] == "step"]
    own = [step["adapters"]["shared"] for step in steps]
    tested = {task: entry["scores"]["shared"] for task, entry in scores["tasks"].items()}
    return {
        "tasks": {task: {key: one[key] for key in ("score", "loss", "examples")} for task, one in tested.items()},
        "general_loss": {name: entry["loss"]["shared"] for name, entry in scores["general"].items()},
        "seconds_per_step": median(step["seconds"] for step in steps),
        "executed_tokens": sum(step["tokens"] for step in steps),
        "chosen_step": read_json(run.selection)["shared"]["chosen"],
        "last_weights": own[-1].get("weights"),
        "mean_conflicts": fmean(one["conflicts"] for one in own) if "conflicts" in own[0] else None,
    }


def differences(prepared: PreparedRun, reference: RunFolder, other: RunFolder) -> list[dict[str, Any]]:
    """Each task's score under one way of balancing minus its score under the sum, on the same rows."""
    items = {name: item for name, item in prepared.tasks.items() if not item.general}
    said = {
        name: Arms(*(read_predictions(run.predictions("shared", name, "test")) for run in (reference, other)))
        for name in items
    }
    rows = compare(
        said, {name: item.data.task.metric for name, item in items.items()}, bootstrap_plan(prepared.config)
    ).rows
    return [
        {key: asdict(row)[key] for key in ("task", "difference", "low", "high", "p_holm", "verdict")} for row in rows
    ]


if __name__ == "__main__":
    main()
