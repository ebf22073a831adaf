"""Hyperparameters searched by Optuna: every trial trains the mixture alone and is judged on validation rows alone.

The loss is that of validation relative to the start, over tasks, as the run's `train.select_by` has it; lower is
better. The metric is the mean over tasks at the step that this loss chooses. A trial that is stopped goes on from its
checkpoint; a search that is stopped proposes what it would have proposed, since each setting of a trial has its seed.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from multitune.config.load import dump_config
from multitune.config.schema import RunConfig
from multitune.core.errors import Interrupted, TrainingError
from multitune.core.events import Observe, read_events, unwatched
from multitune.core.files import write_text
from multitune.core.locks import only_one
from multitune.core.results.events import Event, NoteEvent, PhaseEvent, StepEvent, ValidationEvent
from multitune.core.results.study import TrialRecord, TrialsReport
from multitune.core.run_folder import RunFolder, TuneFolder
from multitune.training.job import train_run
from multitune.training.plan import plan_adapters
from multitune.training.prepare import PreparedRun, prepare_run
from multitune.training.progress import ValidationTrack
from multitune.tuning.journal import importance, open_study, require_optuna, require_same, sampler
from multitune.tuning.space import Setting, applied, own_values, rounded, settings_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

STATES: dict[str, Literal["complete", "pruned", "failed", "unfinished"]] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "unfinished",
}
ENOUGH = 4  # complete trials that importances are computed from

Objective = Literal["loss", "metric"]


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How long to search, for what, and within which ranges."""

    trials: int  # in all, earlier calls included; failed and pruned ones count
    minutes: float | None = None  # of this call
    objective: Objective = "loss"
    ranges: Sequence[str] = ()  # of `settings_of`
    overwrite: bool = False
    observe: Observe = unwatched
    clock: Callable[[], float] = time.monotonic  # seconds


class _TimeIsUpError(Exception):
    """The minutes are over; the trial under way goes on another time."""


def tune_folder(config: RunConfig) -> TuneFolder:
    """Where the search of a run is kept: beside its run folder."""
    return TuneFolder(Path(config.output) / f"{config.name}.tune")


def tune(config: RunConfig, options: TuneOptions) -> TrialsReport:
    """Search the settings of a run; the same call goes on with a search that was stopped.

    Args:
        config: the run. Its test rows are answered by no trial.
        options: how.

    Returns:
        The report that trials.json holds; best.yaml is the run with the best settings.

    Raises:
        InputError: config or data do not fit, or the folder holds the search of another run.
        TrainingError: every trial failed.
        Interrupted: the user stopped it; the same call goes on.
    """
    require_optuna()
    folder = tune_folder(config)
    base, settings = settings_of(config, options.ranges)
    with only_one(folder.lock):
        options.observe(PhaseEvent(name="prepare"))
        prepared = prepare_run(_for_trials(base, options.objective))
        for note in prepared.notes:
            options.observe(NoteEvent(text=note))
        if options.overwrite:  # only now, when nothing of the user's can be wrong any more
            folder.clear()
        asked = [f"# {options.objective} on rows {_rows(prepared)}"]
        asked += [f"# {s.field}: {s.low:g} to {s.high:g}" for s in settings]
        require_same(folder, "\n".join([*asked, dump_config(config)]))
        study = open_study(folder, options.objective, own_values(settings))
        search = _Search(base, settings, folder, prepared, study, options)
        try:
            search.run()
        finally:
            report = search.report()
    reasons = [trial.note for trial in report.trials if trial.state == "failed"]
    if report.best is None and reasons:
        raise TrainingError(f"{folder.path}: no trial came to its end. The last one: {reasons[-1]}")
    return report


@dataclass(slots=True)
class _Search:
    """A search under way."""

    base: RunConfig
    settings: Sequence[Setting]
    folder: TuneFolder
    prepared: PreparedRun
    study: "Study"
    options: TuneOptions

    def run(self) -> None:
        """Trials until there are enough, or the time is up."""
        began = self.options.clock()
        budget = math.inf if self.options.minutes is None else 60.0 * self.options.minutes

        def is_over() -> bool:
            return self.options.clock() - began >= budget

        while not is_over() and (trial := self._next()) is not None:
            try:
                self._one(trial, is_over)
            except _TimeIsUpError:
                return
            except Interrupted as error:
                raise Interrupted(f"{self.folder.path}: stopped; the same command goes on") from error

    def _next(self) -> "Trial | None":
        """The trial that a stopped search was at, or else a new one; None when there are enough."""
        from optuna.trial import Trial, TrialState

        trials = self.study.get_trials(deepcopy=False)
        begun = [trial for trial in trials if trial.state == TrialState.RUNNING]
        number = begun[0].number if begun else sum(t.state != TrialState.WAITING for t in trials)
        if not begun and number >= self.options.trials:
            return None
        if not begun:
            return self.study.ask()
        return Trial(self.study, begun[0]._trial_id)  # pyright: ignore[reportPrivateUsage] (it has no other name)

    def _one(self, trial: "Trial", is_over: Callable[[], bool]) -> None:
        """One trial from its proposal, or its checkpoint, to its result."""
        from optuna.exceptions import TrialPruned
        from optuna.trial import TrialState

        values = {setting.field: self._proposed(trial, setting) for setting in self.settings}
        place = self.folder.trial(trial.number)
        config = applied(self.base, values)
        shown = ", ".join(f"{field} {value:g}" for field, value in values.items())
        self.options.observe(NoteEvent(text=f"trial {trial.number}: {shown}"))
        trained = _for_trials(config, self.options.objective)
        run = replace(self.prepared, config=trained, plans=plan_adapters(trained, self.prepared.tasks))
        known = set(self.study.trials[trial.number].intermediate_values)

        def watch(event: Event) -> None:
            self.options.observe(event)
            if isinstance(event, ValidationEvent) and event.step:
                standing = _standing(place, config, self.options.objective)
                if standing.validations not in known:
                    trial.report(standing.value, standing.validations)
                if trial.should_prune():
                    raise TrialPruned
            elif isinstance(event, StepEvent) and is_over():
                raise _TimeIsUpError

        goes_on = place.checkpoint.is_dir() or place.selection.is_file()
        try:
            train_run(run, place, resume=goes_on, observe=watch)
            value = _standing(place, config, self.options.objective).value
        except TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        except TrainingError as error:
            trial.set_user_attr("note", str(error))
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            if math.isfinite(value):
                self.study.tell(trial, value)
            else:
                trial.set_user_attr("note", "its validation loss is not a number")
                self.study.tell(trial, state=TrialState.FAIL)
        place.drop_weights()  # its events hold all that is needed; `best.yaml` trains anew

    def _proposed(self, trial: "Trial", setting: Setting) -> float:
        """What the sampler proposes for a setting, the same where a search was stopped between two settings."""
        self.study.sampler = sampler(self.base.seed, trial.number, setting.field)
        if setting.scale == "powers of two":
            return float(trial.suggest_categorical(setting.field, setting.choices))
        return rounded(trial.suggest_float(setting.field, setting.low, setting.high, log=setting.scale == "log"))

    def report(self) -> TrialsReport:
        """Write trials.json, and best.yaml where a trial came to its end."""
        trials = [self._row(trial) for trial in self.study.trials if trial.state.name != "WAITING"]
        ended = [row for row in trials if row.state == "complete"]
        sign = -1.0 if self.options.objective == "metric" else 1.0
        best = min(ended, key=lambda row: sign * (row.value or 0.0), default=None)
        if best is not None:
            name = f"{self.base.name[:58]}.best"
            values = {field: value for field, value in best.values.items() if value is not None}
            chosen = applied(self.base, values).model_copy(update={"name": name})
            write_text(self.folder.best, dump_config(chosen))
        report = TrialsReport(
            objective=self.options.objective,
            criterion=self.base.train.select_by,
            best=None if best is None else best.number,
            trials=tuple(trials),
            importance=importance(self.study) if len(ended) >= ENOUGH else None,
            best_file=str(self.folder.best),
            command=f"multitune train {self.folder.best}",
        )
        report.write(self.folder.report)
        return report

    def _row(self, trial: "FrozenTrial") -> TrialRecord:
        last = list(trial.intermediate_values.values())[-1:] or [None]
        return TrialRecord(
            number=trial.number,
            state=STATES[trial.state.name],
            value=trial.value if trial.state.name == "COMPLETE" else last[0],
            values={setting.field: _value(trial.params, setting) for setting in self.settings},
            note=str(trial.user_attrs.get("note", "")),
        )


@dataclass(frozen=True, slots=True)
class _Standing:
    """How a trial stands after so many validations of trained weights."""

    validations: int
    value: float


def _standing(place: RunFolder, config: RunConfig, objective: Objective) -> _Standing:
    """The objective, from the events of a trial: what its best step so far is worth."""
    weights = {task.name: task.weight for task in config.tasks}
    track = ValidationTrack.of(tuple(weights), weights)
    trained, metric = 0, 0.0
    validations = (event for event in read_events(place.events) if isinstance(event, ValidationEvent))
    for event in validations:
        track.note(event.step, {task: shown.loss for task, shown in event.tasks.items()})
        if event.step:
            trained += 1
            if objective == "metric" and (trained == 1 or config.train.select_by in event.best):
                metric = fmean(shown.metric for shown in event.tasks.values() if shown.metric is not None)
    return _Standing(trained, metric if objective == "metric" else track.best[config.train.select_by].value)


def _rows(prepared: PreparedRun) -> str:
    """16 hex digits over the rows that trials learn from and are judged by."""
    digests = [item.tokens[split].digest for item in prepared.tasks.values() for split in ("train", "validation")]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def _for_trials(config: RunConfig, objective: Objective) -> RunConfig:
    """The adapter of the mixture, of a fixed length and validated four times; nothing that only reports."""
    fixed = {"validate_every": None, "alone": "equal_passes"}
    train = config.train.model_copy(update={**fixed, "validate_metric": objective == "metric"})
    return config.model_copy(
        update={"adapters": ("shared",), "train": train, "retention": (), "track": (), "seeds": 1}
    )


def _value(values: Mapping[str, Any], setting: Setting) -> float | None:
    """A setting of a trial as it was used; None where the search was stopped before it was proposed."""
    return rounded(values[setting.field]) if setting.field in values else None
