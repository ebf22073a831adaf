"""A config becomes a finished run: trained, evaluated, with what each task ships with and a router."""

from dataclasses import dataclass
from pathlib import Path

from multitune.config.load import load_config
from multitune.config.robustness import RobustnessConfig
from multitune.config.schema import RunConfig
from multitune.core.errors import ConfigError
from multitune.core.events import Observe, unwatched
from multitune.core.results.events import PhaseEvent
from multitune.core.results.robustness import Robustness
from multitune.core.results.routing import RoutingVersion
from multitune.core.results.scores import Scores
from multitune.core.run_folder import RunFolder
from multitune.deployment.deploy import can_be_routed, deploy_run
from multitune.deployment.homes import open_run_models, read_joined
from multitune.evaluation.experiment import evaluated_run
from multitune.evaluation.robustness import measure_robustness
from multitune.evaluation.scores import evaluate_run
from multitune.evaluation.subjects import open_subjects
from multitune.model.backbone import Backbone
from multitune.training.prepare import prepare_run
from multitune.training.ranks import leading


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that was just finished, with its base still in memory."""

    folder: RunFolder
    backbone: Backbone  # without a bank


def run_experiment(
    config: RunConfig, resume: bool = False, observe: Observe = unwatched, overwrite: bool = False
) -> FinishedRun:
    """Train and evaluate; with several tasks also choose what each ships with, and fit the router.

    In a process that torchrun or its like started as rank 0, the other ranks share the training.

    Args:
        config: from `load_config`.
        resume: go on with a run that was stopped.
        observe: gets every event of the run.
        overwrite: start over in a folder that holds a run.

    Raises:
        InputError: config or data do not fit; nothing was written.
        TrainingError, StorageError, Interrupted: what was saved is intact, and `resume` goes on.
    """
    with leading() as leader, evaluated_run(config, resume, observe, overwrite, leader=leader) as run:
        bank = run.subjects[0].model.bank
        if can_be_routed(config):
            deploy_run(open_run_models(run.folder, run.prepared, {}, bank=bank), run.log)
        if config.evaluate.asks_anything:
            measure_robustness(run.folder, run.prepared, run.subjects, run.log)
    bank.close()
    return FinishedRun(run.folder, bank.backbone)


def evaluate_folder(
    path: Path | str,
    observe: Observe = unwatched,
    *,
    split: str | None = None,
    limit: int | None = None,
    name: str | None = None,
    backbone: Backbone | None = None,
) -> tuple[Scores, RunFolder]:
    """Score a finished run again, from its folder alone.

    On its own rows the run's evaluation is written anew. On others it becomes an evaluation of its own beside that,
    named after them, and nothing else of the run changes.

    Args:
        path: the run folder.
        observe: gets an event per adapter and task.
        split: of the rows; the run's own when None.
        limit: most rows per task; the run's own when None.
        name: of the evaluation on other rows; made of split and limit when None.
        backbone: the run's base, without a bank, and so it is left; loaded when None.

    Returns:
        The scores, and the folder that holds them.
    """
    folder = RunFolder(Path(path)).require()
    own = load_config(folder.config)
    given = {"split": split, "limit": limit}
    changes = {field: value for field, value in given.items() if value not in (None, getattr(own.evaluate, field))}
    overrides = tuple(f"evaluate.{field}={value}" for field, value in changes.items())
    config = load_config(folder.config, overrides)
    if name is not None and not changes:
        raise ConfigError("--name: these are the run's own rows, whose evaluation has no other name. Leave it out")
    target = folder.evaluation(name or _name(config)) if changes else folder
    observe(PhaseEvent(name="prepare"))
    evaluations = [(folder, target, config)]
    for task in folder.joined:
        joined = folder.added(task)
        evaluations.append((joined, target.added(task), load_config(joined.config, overrides)))
    scores: Scores | None = None
    for source, written, settings in evaluations:
        prepared = prepare_run(settings)
        if source is folder:
            observe(PhaseEvent(name="evaluate"))
        subjects = open_subjects(prepared, source, backbone)
        backbone = subjects[0].model.bank.backbone
        found = evaluate_run(written, prepared, subjects, observe)
        if written is folder and own.evaluate.asks_anything:
            measure_robustness(folder, prepared, subjects, observe)
        subjects[0].model.bank.close()
        scores = scores.joined_with(found) if scores else found
    assert scores is not None, "the run itself comes first"
    return scores, target


def measure_folder(
    path: Path | str, wanted: RobustnessConfig, observe: Observe = unwatched, backbone: Backbone | None = None
) -> Robustness:
    """Measure more of an evaluated run's answers on its own rows, from its folder alone.

    Args:
        path: the run folder.
        wanted: what to measure.
        observe: gets the phases.
        backbone: the run's base, without a bank, and so it is left; loaded when None and needed.

    Raises:
        ConfigError: a column makes no groups.
        RunFolderError: the run was not evaluated.
    """
    folder = RunFolder(Path(path)).require()
    Scores.read(folder.scores)  # evaluated, else an error that says so
    own = load_config(folder.config)
    changes = {name: getattr(wanted, name) for name in RobustnessConfig.model_fields}
    config = own.model_copy(update={"evaluate": own.evaluate.model_copy(update=changes)})
    observe(PhaseEvent(name="prepare"))
    prepared = prepare_run(config)
    observe(PhaseEvent(name="evaluate"))
    if not wanted.asks_models:
        return measure_robustness(folder, prepared, ())
    subjects = open_subjects(prepared, folder, backbone)
    found = measure_robustness(folder, prepared, subjects, observe)
    subjects[0].model.bank.close()
    return found


def _name(config: RunConfig) -> str:
    limit = config.evaluate.limit
    return config.evaluate.split if limit is None else f"{config.evaluate.split}-{limit}"


def select_folder(
    path: Path | str,
    observe: Observe = unwatched,
    overrides: tuple[str, ...] = (),
    backbone: Backbone | None = None,
) -> RoutingVersion:
    """Choose each task's adapter and fit the router of an evaluated run, from its folder alone.

    Tasks that joined later take part.

    Args:
        path: the run folder.
        observe: gets the phases.
        overrides: as of `--set`, such as `router.kind=softmax`.
        backbone: the run's base, without a bank, and so it is left; loaded when None.
    """
    folder = RunFolder(Path(path)).require()
    Scores.read(folder.scores)  # evaluated, else an error that says so
    config = load_config(folder.config, overrides)
    observe(PhaseEvent(name="prepare"))
    run = open_run_models(folder, prepare_run(config), read_joined(folder), backbone=backbone)
    found = deploy_run(run, observe)
    run.bank.close()
    return found
