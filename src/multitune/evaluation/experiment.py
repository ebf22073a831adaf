"""Training and evaluation of one config: a run folder with trained adapters, predictions and scores."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from multitune.audit.run import require_settings
from multitune.config.schema import RunConfig
from multitune.core.errors import RunFolderError
from multitune.core.events import EventLog, Observe, unwatched
from multitune.core.results.events import NoteEvent, PhaseEvent
from multitune.core.run_folder import RunFolder
from multitune.evaluation.robustness import planned_robustness
from multitune.evaluation.scores import evaluate_run
from multitune.evaluation.subjects import open_subjects
from multitune.inference.predict import Subject
from multitune.model.backbone import Backbone
from multitune.training.audit import with_audit
from multitune.training.job import train_run
from multitune.training.origin import require_new
from multitune.training.prepare import PreparedRun, prepare_run
from multitune.training.ranks import Leader
from multitune.training.track import TrackerWatch, several


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """A run that was just trained and evaluated, with its data and models still in memory."""

    folder: RunFolder
    prepared: PreparedRun
    subjects: list[Subject]
    log: EventLog


@contextmanager
def evaluated_run(
    config: RunConfig,
    resume: bool = False,
    observe: Observe = unwatched,
    overwrite: bool = False,
    backbone: Backbone | None = None,
    leader: Leader | None = None,
) -> Generator[EvaluatedRun]:
    """Prepare, audit, train and evaluate; within the block the event log stays open for what follows.

    Args:
        config: from `load_config`.
        resume: go on with a run that was stopped.
        observe: gets every event of the run.
        overwrite: start over in a folder that holds a run.
        backbone: the run's base, without a bank; loaded when None.
        leader: of the other processes that train this run; None where there are none.

    Raises:
        InputError: config or data do not fit; nothing was written.
        AuditError: the data has faults that `audit: strict` does not let pass; nothing was written.
        TrainingError, StorageError, Interrupted: what was saved is intact, and `resume` goes on.
    """
    folder = RunFolder(Path(config.output) / config.name)
    _check_folder(folder, resume, overwrite)
    audits = not resume and config.audit.mode != "off"
    if audits:
        require_settings(config.audit)
    tracking = TrackerWatch(config.track, config.name, folder.path, config.model_dump(mode="json"))
    observe(PhaseEvent(name="prepare"))
    prepared = prepare_run(config)
    for note in (*prepared.notes, *planned_robustness(prepared).notes):
        observe(NoteEvent(text=note))
    if audits:
        prepared = with_audit(prepared, observe)
    watch = several([observe, tracking])
    log = EventLog(folder.events, watch)  # one for training and all that follows
    try:
        backbone = train_run(
            prepared,
            folder,
            resume=resume,
            overwrite=overwrite,
            observe=watch,
            backbone=backbone,
            log=log,
            leader=leader,
        )
        log(PhaseEvent(name="evaluate"))
        subjects = open_subjects(prepared, folder, backbone)
        evaluate_run(folder, prepared, subjects, log)
        yield EvaluatedRun(folder, prepared, subjects, log)
    finally:
        log.close()
        tracking.finish()


def _check_folder(folder: RunFolder, resume: bool, overwrite: bool) -> None:
    if folder.is_held:
        raise RunFolderError(
            f"{folder.path}: another process is training this run. Wait for it (`multitune watch {folder.path}`), or "
            "stop it"
        )
    if resume:
        folder.require()
    elif not overwrite:
        require_new(folder)
