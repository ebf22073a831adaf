"""From a prepared run to a run folder with trained adapters: set up, loop, validate, checkpoint, choose."""

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from multitune.core.errors import Interrupted
from multitune.core.events import EventLog, Observe, unwatched
from multitune.core.files import copy_folder, delete_folder, folder_digest, recover_tree, write_folder
from multitune.core.records import Prediction
from multitune.core.results.events import (
    CheckpointEvent,
    FrozenEvent,
    NoteEvent,
    PhaseEvent,
    ValidatedTask,
    ValidationEvent,
)
from multitune.core.results.run import AdapterSelection, Selection
from multitune.core.run_folder import RunFolder
from multitune.model.backbone import Backbone
from multitune.model.bank import AdapterBank
from multitune.training.checkpoint import Checkpoint, TrainingState, require_unchanged, restorable, save_checkpoint
from multitune.training.choice import RowValues
from multitune.training.compute import Compute, LocalCompute, SharedCompute
from multitune.training.learner import Learner
from multitune.training.loop import run_loop
from multitune.training.optim import AdapterOptimizer, Budget
from multitune.training.origin import begin, describe, note_changes, note_places, require_same
from multitune.training.plan import AdapterPlan, looks
from multitune.training.prepare import PreparedRun
from multitune.training.progress import ValidationTrack
from multitune.training.ranks import Leader, claim_device
from multitune.training.signals import stop_on_signal
from multitune.training.trainee import new_trainee, open_bank

PATIENCE = 2  # looks without gain after which an adapter that trains to convergence ends

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """A job under way; also the loop's hooks."""

    run: PreparedRun
    folder: RunFolder
    observe: Observe
    compute: Compute
    learners: list[Learner]
    log: EventLog
    interrupted: bool = False
    base_losses: dict[str, list[float]] = field(default_factory=dict[str, list[float]])  # by row
    digests: dict[Path, str] = field(default_factory=dict[Path, str])  # of each snapshot, as it was written
    kept: set[Path] = field(default_factory=set[Path])  # snapshots that the last checkpoint may yet choose

    def stop(self) -> None:
        """Save and leave after the step under way."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self.observe(NoteEvent(text="stopping after this step; press Ctrl-C again to leave at once"))

    def validate(self, learner: Learner) -> None:
        """Measure every task of one adapter on validation rows, keep it if some criterion calls it the best."""
        step, tasks = learner.trained_steps, learner.spec.tasks
        rows = {task: self._validation_losses(learner, task) for task in tasks}
        losses = {task: float(np.mean(values)) for task, values in rows.items()}
        answers = {task: self._validation_answers(learner, task) for task in tasks}
        by_row = {t: RowValues(losses=tuple(rows[t]), scores=tuple(one.score for one in answers[t])) for t in tasks}
        best = learner.track.look(step, by_row)
        learner.stream.feedback(step - 1, losses)
        shown = {task: ValidatedTask(loss=losses[task], metric=self._score(task, answers[task])) for task in tasks}
        self.log(ValidationEvent(step=step, adapter=learner.name, tasks=shown, best=tuple(best)))
        snapshot = self.folder.snapshot(learner.name, step)
        learner.trainee.save(snapshot, step)
        self.digests[snapshot] = folder_digest(snapshot)
        if step:
            self._stop_overfitted(learner)
            self._end_converged(learner)

    def _end_converged(self, learner: Learner) -> None:
        """Let an adapter that trains to convergence end soon where its validation has stopped gaining."""
        train = self.run.config.train
        if (
            train.alone == "convergence"
            and not learner.decays
            and (learner.track.stalled(train.select_by) >= (train.patience or PATIENCE))
        ):
            learner.end_soon(learner.trained_steps)
            self.log(NoteEvent(text=f"{learner.name}: validation has stopped gaining; ends at step {learner.steps}"))

    def _stop_overfitted(self, learner: Learner) -> None:
        """Draw such a task no more; where it is the last one drawn, the adapter is done."""
        shares = learner.stream.shares(learner.trained_steps)
        for task in learner.track.overfitted(self.run.config.train.patience):
            if not shares[task]:
                continue  # stopped before
            if learner.stream.freeze(task, learner.trained_steps - 1):
                self.log(FrozenEvent(step=learner.trained_steps, adapter=learner.name, task=task))
            else:
                learner.done = True
                self.log(NoteEvent(text=f"{learner.name}: no task gains any more; stopped early"))

    def _validation_losses(self, learner: Learner, task: str) -> list[float]:
        if learner.trained_steps:
            return self.compute.validation_losses(learner.trainee, task)
        parent = learner.spec.parent
        start = f"{task} on {parent}" if parent else task  # untrained it answers as its parent does, or the base
        if start not in self.base_losses:
            self.base_losses[start] = self.compute.validation_losses(learner.trainee, task)
        return self.base_losses[start]

    def _validation_answers(self, learner: Learner, task: str) -> list[Prediction]:
        if not learner.trained_steps or not self.run.config.train.validate_metric:
            return []
        return self.compute.validation_answers(learner.trainee, task)

    def _score(self, task: str, answers: Sequence[Prediction]) -> float | None:
        return self.run.tasks[task].data.task.score(answers).value if answers else None

    def after_step(self, step: int, validated: bool) -> None:
        """Checkpoint at validations or every `checkpoint_every` steps, and before leaving on Ctrl-C."""
        every = self.run.config.train.checkpoint_every
        if self.interrupted or (step % every == 0 if every else validated):
            self.checkpoint(step)
        if self.interrupted:
            raise Interrupted(
                f"stopped after step {step}; everything is saved. Go on with: multitune train … --resume "
                f"(run folder {self.folder.path})"
            )

    def checkpoint(self, step: int) -> None:
        """Write the whole training state, then drop the snapshots that nothing points to any more."""
        self.log(CheckpointEvent(step=step))  # first, so that the log of a resumed run holds it too
        tensors = {f"{x.name}/{key}": t for x in self.learners for key, t in x.optimizer.tensors().items()}
        kept = self._snapshots_in_use()
        state = TrainingState(
            step=step,
            events=self.log.size,
            base_losses=self.base_losses,
            learners={learner.name: learner.state() for learner in self.learners},
            log=self.log.digest,
            snapshots={
                str(path.relative_to(self.folder.path)): self.digests[path] for path in kept & self.digests.keys()
            },
        )
        save_checkpoint(self.folder.checkpoint, Checkpoint(state, tensors), keep=self.folder.checkpoint_before)
        for learner in self.learners:
            parent = self.folder.snapshot(learner.name, 0).parent
            for snapshot in set(parent.glob("step-*")) - kept - self.kept:  # those of the checkpoint before stay too
                delete_folder(snapshot, self.folder.path)
        self.kept = kept

    def _snapshots_in_use(self) -> set[Path]:
        """Snapshots that may yet be chosen."""
        return {self.folder.snapshot(one.name, step) for one in self.learners for step in one.track.steps_in_use()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put every learner where the checkpoint left it."""
        self.base_losses = dict(checkpoint.state.base_losses)
        self.digests = {self.folder.path / place: digest for place, digest in checkpoint.state.snapshots.items()}
        for learner in self.learners:
            learner.restore(checkpoint.state.learners[learner.name], checkpoint.of(learner.name))
        self.kept = self._snapshots_in_use()
        _log.info("%s: the run goes on from here", self.folder.checkpoint)

    def run_phases(self) -> None:
        """Train the adapters phase by phase; those of a later one stack on what the earlier ones chose."""
        before = 0
        for plans in self.run.phases:
            names = {plan.spec.name for plan in plans}
            learners = [learner for learner in self.learners if learner.name in names]
            self._settle({learner.spec.parent for learner in learners if not learner.spec.train_parent})
            for learner in learners:
                if not learner.track.start:  # neither restored
                    self.validate(learner)
            run_loop(self.compute, learners, self.log, self, before)
            before += max(plan.spec.steps for plan in plans)

    def _settle(self, names: Collection[str | None]) -> None:
        """Put finished adapters, which others are about to stack on, back to their chosen steps."""
        for below in self.learners:
            if below.name in names:
                below.trainee.load(self._checked(below.name, self._chosen(below)[0]))
                self.compute.publish([below.trainee])

    def _chosen(self, learner: Learner) -> tuple[int, str]:
        """The step that is kept, and why."""
        return learner.track.chosen(self.run.config.train.keep, self.run.config.train.select_by)

    def _checked(self, adapter: str, step: int) -> Path:
        """A snapshot, which is as it was written."""
        snapshot = self.folder.snapshot(adapter, step)
        require_unchanged(snapshot, self.digests.get(snapshot))
        return snapshot

    def publish_best(self) -> None:
        """Copy each adapter's chosen snapshot to adapters/, and write down which step won and why.

        The selection comes last: where it is, training is complete.
        """
        by, selection = self.run.config.train.select_by, dict[str, AdapterSelection]()
        for learner in self.learners:
            step, why = self._chosen(learner)
            kept = partial(copy_folder, self._checked(learner.name, step))
            write_folder(self.folder.adapter(learner.name), {}, {}, save=kept)
            track = learner.track
            selection[learner.name] = AdapterSelection(
                chosen=step, why=why, by=by, best=track.best, noise=track.noise()
            )
        Selection(adapters=selection, events=self.log.size).write(self.folder.selection)


def train_run(
    run: PreparedRun,
    folder: RunFolder,
    *,
    resume: bool = False,
    overwrite: bool = True,
    observe: Observe = unwatched,
    backbone: Backbone | None = None,
    log: EventLog | None = None,
    leader: Leader | None = None,
) -> Backbone | None:
    """Train every adapter of a prepared run into its folder; the chosen ones end up under adapters/.

    What only training needs is deleted at the end. To resume a run whose training is complete changes nothing.

    Args:
        run: what to train.
        folder: of the run.
        resume: go on where the folder's checkpoint stands.
        overwrite: if not, delete a run that is there.
        observe: gets every event.
        backbone: to train on, without a bank; the run's base when None.
        log: of a caller who goes on with it afterwards and closes it; one of its own when None.
        leader: of the other processes that train this run; None where there are none.

    Returns:
        The backbone as it was before, for another bank; None where none was loaded, or training changed its weights.

    Raises:
        RunFolderError: the folder holds another run, its data, base or checkpoint changed, or it is locked.
        RankError: the processes disagree on what to train; nothing was written.
        TrainingError, StorageError, Interrupted: the last checkpoint is intact.
    """
    events = log or EventLog(folder.events, observe)
    try:
        checkpoint, notes = None, list[str]()
        if resume:
            events.hold()
            recover_tree(folder.path)
            require_same(run, folder)
            if trained := _trained(run, folder):
                _finish(run, folder, trained, observe, log)
                return backbone
            checkpoint, notes = restorable(folder)
        observe(PhaseEvent(name="load"))
        compute = _compute(run, backbone, leader)
        try:
            learners = [new_learner(compute.bank, run, plan) for plan in run.plans]
            if resume:
                notes += note_changes(run, compute.bank.backbone, folder)
            else:  # only now, when nothing of the user's can be wrong any more
                events.hold()
                begin(run, compute.bank.backbone, folder, overwrite)
            _train(Job(run, folder, observe, compute, learners, events), checkpoint, notes)
        finally:
            compute.bank.close()
        return compute.bank.backbone if run.config.method == "lora" else None
    finally:
        if log is None:
            events.close()


def _train(job: Job, checkpoint: Checkpoint | None, notes: Sequence[str]) -> None:
    """Train from a checkpoint, or from the start, to the published adapters."""
    job.folder.selection.unlink(missing_ok=True)  # left by a run whose adapters were deleted
    job.log.open(keep=checkpoint.state.events if checkpoint else 0)
    if (note := job.compute.bank.backbone.note) and not checkpoint:
        job.log(NoteEvent(text=note))
    for note in (*notes, *job.compute.notes):
        job.log(NoteEvent(text=note))
    job.observe(PhaseEvent(name="train"))
    with stop_on_signal(job.stop):
        if checkpoint:
            job.restore(checkpoint)
            job.compute.publish([learner.trainee for learner in job.learners])
        job.run_phases()
    job.publish_best()
    job.folder.drop_training()


def _compute(run: PreparedRun, backbone: Backbone | None, leader: Leader | None) -> Compute:
    """Where steps are computed: here, or on all ranks, once they have agreed on what to train."""
    if leader is None:
        return LocalCompute(open_bank(run, backbone), run)
    claim_device(run.config.device)
    bank = open_bank(run, backbone)
    leader.join(describe(run, bank.backbone), bank.backbone.device)
    return SharedCompute(leader, bank, run)


def _trained(run: PreparedRun, folder: RunFolder) -> Selection | None:
    """What was chosen, where every adapter of the run is trained and published."""
    if not folder.selection.is_file() or not all(folder.adapter(plan.spec.name).is_dir() for plan in run.plans):
        return None
    return Selection.read(folder.selection)


def _finish(run: PreparedRun, folder: RunFolder, trained: Selection, observe: Observe, log: EventLog | None) -> None:
    """Go on behind the end of a training: its log is cut back to there, and what a kill left over is deleted."""
    observe(NoteEvent(text="every adapter is trained already"))
    note_places(run, folder)
    folder.drop_training()
    if log is not None:
        size = folder.events.stat().st_size if folder.events.is_file() else 0
        log.open(keep=size if trained.events is None else trained.events)
        if size < (trained.events or 0):
            log(NoteEvent(text=f"{folder.events.name} had lost lines of the training, which is complete"))


def new_learner(bank: AdapterBank, run: PreparedRun, plan: AdapterPlan) -> Learner:
    """A new adapter in the bank, with its stream of examples, its optimizer and its budget."""
    train, spec = run.config.train, plan.spec
    trainee = new_trainee(bank, run, spec)
    to_convergence = train.alone == "convergence"
    new_budget = Budget.until_convergence if to_convergence else Budget
    budget = new_budget(spec.steps, spec.learning_rate, train.warmup)
    weights = {task.name: task.weight for task in run.config.tasks}
    return Learner(
        trainee=trainee,
        stream=plan.stream,
        optimizer=AdapterOptimizer(trainee, budget, train),
        track=ValidationTrack.of(spec.tasks, weights),
        validate_every=train.validate_every or math.ceil(spec.steps / looks(train)),
    )
