"""A whole experiment: a config becomes a run folder with trained adapters, predictions, scores and verdicts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from multitune.config.load import load_config
from multitune.config.schema import RunConfig
from multitune.core.bases import BaseRef
from multitune.core.errors import RunFolderError
from multitune.core.rundir import RunFolder, read_json
from multitune.evaluation.deploy import can_be_routed, deploy_run
from multitune.evaluation.runner import Subject, evaluate_run, measure
from multitune.model.backbone import load_backbone
from multitune.model.bank import BASE, AdapterBank
from multitune.model.files import load_adapter
from multitune.training.events import EventLog, Observe, unwatched
from multitune.training.job import JobOptions, train_run
from multitune.training.prepare import PreparedRun, prepare_run
from multitune.training.track import TrackerWatch, several


def run_experiment(
    config: RunConfig, resume: bool = False, observe: Observe = unwatched, overwrite: bool = False
) -> RunFolder:
    """Prepare, train, evaluate.

    Args:
        config: from `load_config`.
        resume: go on with a run that was stopped.
        observe: gets every event of the run (see training.events).
        overwrite: start over in a folder that holds a run.
    Returns:
        The run's folder, complete.
    Raises:
        InputError: config or data do not fit; nothing was written.
        TrainingError, StorageError, Interrupted: what was saved is intact, and `resume` goes on.
    """
    folder = RunFolder(Path(config.output) / config.name)
    _check_folder(folder, resume, overwrite)
    observe({"kind": "phase", "name": "prepare"})
    prepared = prepare_run(config)
    for note in prepared.notes:
        observe({"kind": "note", "text": note})
    tracking = TrackerWatch(config.track, config.name, folder.path, config.model_dump(mode="json"))
    watch = several([observe, tracking])
    log = EventLog(folder.events, watch)  # one for training and evaluation: whoever reads the diary sees both
    try:
        train_run(prepared, folder, JobOptions(resume, watch, _measure(prepared), log=log))
        log({"kind": "phase", "name": "evaluate"})
        subjects = open_subjects(prepared, folder)
        evaluate_run(folder, prepared, subjects, log)
        if can_be_routed(config):
            deploy_run(folder, prepared, subjects, log)
    finally:
        log.close()
        tracking.finish()
    return folder


def evaluate_folder(path: Path | str, observe: Observe = unwatched, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Score a finished run again, from its folder alone.

    Args:
        path: the run folder.
        observe: gets an event per adapter and task.
        overrides: as of `--set`, such as `evaluate.limit=500`.
    Returns:
        What scores.json holds (see evaluation.runner).
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
        {"version", "table", "report"} (see evaluation.deploy).
    """
    folder = RunFolder(Path(path)).require()
    read_json(folder.scores)  # evaluated, else an error that says so
    config = load_config(folder.config, overrides)
    observe({"kind": "phase", "name": "prepare"})
    prepared = prepare_run(config)
    return deploy_run(folder, prepared, open_subjects(prepared, folder), observe)


def open_subjects(prepared: PreparedRun, folder: RunFolder) -> list[Subject]:
    """The base and every adapter of a run, loaded from its folder.

    Raises:
        RunFolderError: an adapter is missing because the run was not finished.
    """
    config = prepared.config
    bank = AdapterBank(load_backbone(prepared.ref, config.device, config.dtype))
    subjects = [Subject(BASE, bank, BASE)]
    for plan in prepared.plans:
        name, path = plan.recipe.name, folder.adapter(plan.recipe.name)
        if not path.is_dir():
            raise RunFolderError(f"{path}: no such adapter; the run was not finished. Go on with --resume")
        if config.method == "full":
            tuned = AdapterBank(load_backbone(BaseRef(name, str(path)), config.device, config.dtype))
            subjects.append(Subject(name, tuned, BASE))
        else:
            load_adapter(bank, path, name)
            subjects.append(Subject(name, bank, name))
    return subjects


def _measure(prepared: PreparedRun) -> Callable[..., float] | None:
    if not prepared.config.train.validate_metric:
        return None
    return measure(prepared)


def _check_folder(folder: RunFolder, resume: bool, overwrite: bool) -> None:
    if folder.is_held:
        raise RunFolderError(
            f"{folder.path}: another process is training this run. Wait for it (`multitune watch {folder.path}`), or "
            "stop it"
        )
    if resume:
        folder.require()
    elif folder.path.exists() and any(folder.path.iterdir()) and not overwrite:
        raise RunFolderError(
            f"{folder.path}: already holds a run. Go on with it (--resume), start over (--overwrite), or change `name`"
        )
