"""From a prepared run to a run folder with trained adapters: set up, loop, validate, checkpoint, choose."""

import logging
import math
import shutil
import signal
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multitune.config.load import dump_config, load_config
from multitune.config.ranges import learning_rate
from multitune.config.schema import RecipeConfig, RunConfig
from multitune.core.errors import Interrupted, RunFolderError
from multitune.core.events import EventLog, Observe, unwatched
from multitune.core.files import write_text
from multitune.core.results.events import (
    CheckpointEvent,
    FrozenEvent,
    NoteEvent,
    PhaseEvent,
    ValidatedTask,
    ValidationEvent,
)
from multitune.core.results.run import AdapterSelection, DataRecord, Selection
from multitune.core.run_folder import RunFolder
from multitune.core.seeds import generator
from multitune.core.versions import versions
from multitune.data.task_input import TaskInput
from multitune.inference.likelihood import row_losses
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter, read_weights, save_adapter
from multitune.model.full import FullWeights, save_full
from multitune.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from multitune.training.learner import Learner
from multitune.training.loop import run_loop
from multitune.training.optim import AdapterOptimizer, AdapterTrainee, Budget, Trainee
from multitune.training.prepare import AdapterPlan, PreparedRun
from multitune.training.progress import ValidationTrack

_log = logging.getLogger(__name__)

Measure = Callable[[AdapterBank, str, TaskInput, int], float]  # metric of an adapter on so many validation rows


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How to run a job, as opposed to what to train."""

    resume: bool = False
    observe: Observe = unwatched
    measure: Measure | None = None  # None: validation loss alone
    backbone: Backbone | None = None  # None: the run's base
    log: EventLog | None = None  # of a caller who goes on with it afterwards, and closes it


@dataclass(slots=True)
class Job:
    """A job under way; also the loop's hooks."""

    run: PreparedRun
    folder: RunFolder
    options: JobOptions
    bank: AdapterBank
    learners: list[Learner]
    log: EventLog
    interrupted: bool = False
    base_losses: dict[str, float] = field(default_factory=dict[str, float])

    def validate(self, learner: Learner) -> None:
        """Measure every task of one adapter on validation rows, keep it if some criterion calls it the best."""
        losses = {task: self._validation_loss(learner, task) for task in learner.plan.tasks}
        metrics = {task: self._metric(learner, task) for task in learner.plan.tasks}
        best = learner.track.note(learner.trained_steps, losses)
        learner.plan.stream.feedback(learner.trained_steps - 1, losses)
        shown = {task: ValidatedTask(loss=losses[task], metric=metrics[task]) for task in losses}
        self.log(
            ValidationEvent(step=learner.trained_steps, adapter=learner.name, tasks=shown, best=tuple(best)),
        )
        if best:
            self._save(learner, self.folder.snapshot(learner.name, learner.trained_steps))
        if learner.trained_steps:
            self._stop_overfitted(learner)

    def _stop_overfitted(self, learner: Learner) -> None:
        """Draw such a task no more; where it is the last one drawn, the adapter is done."""
        shares = learner.plan.stream.shares(learner.trained_steps)
        for task in learner.track.overfitted(self.run.config.train.patience):
            if not shares[task]:
                continue  # stopped before
            if learner.plan.stream.freeze(task, learner.trained_steps - 1):
                self.log(FrozenEvent(step=learner.trained_steps, adapter=learner.name, task=task))
            else:
                learner.done = True
                self.log(NoteEvent(text=f"{learner.name}: no task gains any more; stopped early"))

    def _validation_loss(self, learner: Learner, task: str) -> float:
        beneath = learner.plan.recipe.on
        start = f"{task} on {beneath}" if beneath else task  # an untrained adapter is what it stands on, or the base
        if not learner.trained_steps and learner.number >= 0 and start in self.base_losses:
            return self.base_losses[start]
        tokens = self.run.tasks[task].tokens["validation"]
        order = generator(self.run.config.seed, "validation", task).permutation(len(tokens))
        rows = [tokens[int(i)] for i in order[: self.run.config.train.validate_limit]]
        adapter = "base" if learner.number < 0 else learner.name
        loss = float(row_losses(self.bank, adapter, rows, self.run.config.train.pack_tokens).mean())
        if not learner.trained_steps:
            self.base_losses[start] = loss
        return loss

    def _metric(self, learner: Learner, task: str) -> float | None:
        if self.options.measure is None or not learner.trained_steps:
            return None
        adapter = "base" if learner.number < 0 else learner.name
        return self.options.measure(self.bank, adapter, self.run.tasks[task], self.run.config.train.validate_limit)

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
        facts = {
            "step": step,
            "events": self.log.size,
            "base_losses": self.base_losses,
            "learners": {learner.name: learner.facts() for learner in self.learners},
        }
        save_checkpoint(self.folder.checkpoint, Checkpoint(facts, tensors))
        for learner in self.learners:
            kept = {self.folder.snapshot(learner.name, s) for s in learner.track.steps_in_use()}
            parent = self.folder.snapshot(learner.name, 0).parent
            for snapshot in set(parent.glob("step-*")) - kept:
                shutil.rmtree(snapshot)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put every learner where the checkpoint left it."""
        self.base_losses = dict(checkpoint.facts["base_losses"])
        for learner in self.learners:
            learner.restore(checkpoint.facts["learners"][learner.name], checkpoint.of(learner.name))

    def run_phases(self) -> None:
        """Train the adapters phase by phase; those of a later one stand on what the earlier ones chose."""
        before = 0
        for plans in self.run.phases:
            learners = [learner for learner in self.learners if learner.plan in plans]
            self._settle({learner.plan.recipe.on for learner in learners if not learner.plan.recipe.joint})
            for learner in learners:
                if not learner.track.start:  # neither restored
                    self.validate(learner)
            run_loop(self.bank, self.run, learners, self.log, self, before)
            before += max(plan.steps for plan in plans)

    def _settle(self, names: Collection[str | None]) -> None:
        """Put finished adapters, which others are about to stand on, back to their chosen steps."""
        for below in self.learners:
            if below.name in names:
                snapshot = self.folder.snapshot(below.name, below.track.chosen(self.run.config.train.select_by))
                read_weights(self.bank, snapshot, below.name)

    def publish_best(self) -> None:
        """Copy each adapter's chosen snapshot to adapters/, and write down which step won by which criterion."""
        selection: dict[str, AdapterSelection] = {}
        for learner in self.learners:
            step = learner.track.chosen(self.run.config.train.select_by)
            source, target = self.folder.snapshot(learner.name, step), self.folder.adapter(learner.name)
            staging = target.with_name(f".part-{learner.name}")
            shutil.rmtree(staging, ignore_errors=True)
            shutil.copytree(source, staging)
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
            selection[learner.name] = AdapterSelection(
                chosen=step, by=self.run.config.train.select_by, best=learner.track.best
            )
        Selection(adapters=selection).write(self.folder.selection)

    def _save(self, learner: Learner, folder: Path) -> None:
        recipe = {**learner.plan.recipe.model_dump(mode="json"), "step": learner.trained_steps}
        if learner.number < 0:
            save_full(self.bank.backbone, folder, self.run.chat.tokenizer, {})
        else:
            save_adapter(self.bank.flattened(learner.name), folder, self.bank, recipe)


def train_run(run: PreparedRun, folder: RunFolder, options: JobOptions) -> None:
    """Train every adapter of a prepared run into its folder; the chosen ones end up under adapters/.

    Raises:
        RunFolderError: the folder holds another run, or its data or checkpoint changed.
        TrainingError, StorageError, Interrupted: the last checkpoint is intact.
    """
    checkpoint = _read_folder(run, folder) if options.resume else None
    options.observe(PhaseEvent(name="load"))
    bank = AdapterBank(options.backbone or load_backbone(run.ref, run.config.device, run.config.dtype))
    if run.config.train.gradient_checkpointing:
        bank.recompute_layers()
    learners = [_learner(bank, run, plan) for plan in run.plans]
    if not options.resume:  # only now, when nothing of the user's can be wrong any more
        _start_folder(run, folder)
    log = options.log or EventLog(folder.events, options.observe)
    job = Job(run, folder, options, bank, learners, log)
    try:
        log.open(keep=checkpoint.facts["events"] if checkpoint else 0)
        if bank.backbone.note and not checkpoint:
            log(NoteEvent(text=bank.backbone.note))
        options.observe(PhaseEvent(name="train"))
        with _stop_on_signal(job):
            if checkpoint:
                job.restore(checkpoint)
                _log.info("%s: the run goes on from here", folder.checkpoint)
            job.run_phases()
        job.publish_best()
    finally:
        if options.log is None:
            log.close()


def _start_folder(run: PreparedRun, folder: RunFolder) -> None:
    folder.clear()
    write_text(folder.config, dump_config(run.config))
    versions().write(folder.versions)
    run.data_record().write(folder.data)


def _read_folder(run: PreparedRun, folder: RunFolder) -> Checkpoint | None:
    """The checkpoint to go on from, if this is the run that the folder holds."""
    if dump_config(load_config(folder.require().config)) != dump_config(run.config):
        raise RunFolderError(
            f"{folder.config}: this run was started with another config, and cannot go on with a changed one. "
            "Undo the change, or start again with --overwrite"
        )
    before, now = DataRecord.read(folder.data).sets, run.data_record().sets
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise RunFolderError(
            f"{folder.data}: the rows of {changed[0]!r} changed since the run began. Put them back, or start again "
            "with --overwrite"
        )
    return load_checkpoint(folder.checkpoint)


def _learner(bank: AdapterBank, run: PreparedRun, plan: AdapterPlan) -> Learner:
    config = run.config
    name = plan.recipe.name
    trainee: Trainee
    if config.method == "full":
        number, trainee = -1, FullWeights(bank.backbone)
    else:
        number, trainee = _new_adapter(bank, config, plan.recipe), AdapterTrainee(bank[name])
    budget = Budget(plan.steps, learning_rate(config), config.train.warmup)
    weights = _weights(run, plan.tasks)
    return Learner(
        plan=plan,
        number=number,
        optimizer=AdapterOptimizer(trainee, budget, config.train),
        track=ValidationTrack.of(plan.tasks, weights, None),
        validate_every=config.train.validate_every or math.ceil(plan.steps / 4),
    )


def _new_adapter(bank: AdapterBank, config: RunConfig, recipe: RecipeConfig) -> int:
    """Put a recipe's untrained adapter into the bank, on top of what it stands on. Returns its number."""
    lora, seed = config.lora, config.seed if recipe.seed is None else recipe.seed
    rank = recipe.rank or lora.rank
    bank.create(recipe.name, rank, recipe.alpha or lora.alpha * rank / lora.rank, lora.targets, seed)
    bank.train(recipe.name)
    if recipe.on is not None:
        if recipe.on not in bank.names:
            load_adapter(bank, Path(recipe.on), recipe.on, keep="float32")
        bank.stack(recipe.name, recipe.on, recipe.joint)
    return bank.number(recipe.name)


def _weights(run: PreparedRun, tasks: Sequence[str]) -> Mapping[str, float]:
    return {task.name: task.weight for task in run.config.tasks if task.name in tasks}


@contextmanager
def _stop_on_signal(job: Job) -> Generator[None]:
    """Ctrl-C and SIGTERM finish the step, save and leave; a second Ctrl-C leaves at once."""

    def stop(number: int, frame: Any) -> None:
        if job.interrupted:
            raise KeyboardInterrupt
        job.interrupted = True
        job.options.observe(NoteEvent(text="stopping after this step; press Ctrl-C again to leave at once"))

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever runs us handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
