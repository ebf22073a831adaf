"""A config becomes a finished run: trained, evaluated, with what each task ships with and a router."""

from pathlib import Path
from typing import Any

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.events import Observe, unwatched
from multitune.core.files import read_json
from multitune.core.run_folder import RunFolder
from multitune.deployment.deploy import can_be_routed, deploy_run
from multitune.evaluation.experiment import evaluated_run
from multitune.evaluation.scores import evaluate_run
from multitune.evaluation.subjects import open_subjects
from multitune.training.prepare import prepare_run


def run_experiment(
    config: RunConfig, resume: bool = False, observe: Observe = unwatched, overwrite: bool = False
) -> RunFolder:
    """Train and evaluate; with several tasks also choose what each ships with, and fit the router.

    Args:
        config: from `load_config`.
        resume: go on with a run that was stopped.
        observe: gets every event of the run.
        overwrite: start over in a folder that holds a run.

    Returns:
        The run's folder, complete.

    Raises:
        InputError: config or data do not fit; nothing was written.
        TrainingError, StorageError, Interrupted: what was saved is intact, and `resume` goes on.
    """
    with evaluated_run(config, resume, observe, overwrite) as run:
        if can_be_routed(config):
            deploy_run(run.folder, run.prepared, run.subjects, run.log)
    return run.folder


def evaluate_folder(path: Path | str, observe: Observe = unwatched, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Score a finished run again, from its folder alone.

    Args:
        path: the run folder.
        observe: gets an event per adapter and task.
        overrides: as of `--set`, such as `evaluate.limit=500`.
    Returns:
        What scores.json holds (see evaluation.scores).
    """
    folder = RunFolder(Path(path)).require()
    config = load_config(folder.config, overrides)
    observe({"kind": "phase", "name": "prepare"})
    prepared = prepare_run(config)
    observe({"kind": "phase", "name": "evaluate"})
    return evaluate_run(folder, prepared, open_subjects(prepared, folder), observe)


def select_folder(path: Path | str, observe: Observe = unwatched, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Choose each task's adapter and fit the router of an evaluated run, from its folder alone.

    Args:
        path: the run folder.
        observe: gets the phases.
        overrides: as of `--set`, such as `router.kind=softmax`.
    Returns:
        {"version", "table", "report"} (see deployment.deploy).
    """
    folder = RunFolder(Path(path)).require()
    read_json(folder.scores)  # evaluated, else an error that says so
    config = load_config(folder.config, overrides)
    observe({"kind": "phase", "name": "prepare"})
    prepared = prepare_run(config)
    return deploy_run(folder, prepared, open_subjects(prepared, folder), observe)
