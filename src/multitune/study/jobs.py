"""A job is a run that trains several arms side by side; its arms end up in the study's folder."""

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multitune.config.load import holds_config, load_config
from multitune.core.bases import BASE
from multitune.core.events import Observe, unwatched
from multitune.core.files import delete_folder
from multitune.core.records import Split
from multitune.core.run_folder import RunFolder
from multitune.evaluation.subjects import open_subjects
from multitune.inference.local import LocalModel
from multitune.inference.predict import Subject, predict_task
from multitune.model.backbone import Backbone, load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
from multitune.study.arms import Answers, Arm, ArmResult
from multitune.training.job import train_run
from multitune.training.plan import plan_adapters
from multitune.training.prepare import PreparedRun


@dataclass(frozen=True, slots=True)
class StudyJob:
    """Arms to train in one job, by key, and the run folder to do it in."""

    arms: Mapping[str, Arm]
    folder: Path
    split: Split = "validation"  # rows to answer at the end


@dataclass(frozen=True, slots=True)
class JobResult:
    """The arms of a finished job; their weights still lie in its run folder."""

    job: StudyJob
    arms: tuple[ArmResult, ...]


def train_job(
    prepared: PreparedRun, job: StudyJob, observe: Observe = unwatched, backbone: Backbone | None = None
) -> JobResult:
    """Train the arms of a job, or go on where it was stopped, and let each answer its tasks.

    Args:
        prepared: the run that the study is of.
        job: what to train.
        observe: gets every event.
        backbone: the run's base, without a bank, and so it is left; loaded when None.

    Raises:
        TrainingError, StorageError, Interrupted: what was saved is intact, and the same call goes on.
    """
    started = time.monotonic()
    folder = RunFolder(job.folder)
    run = run_of(prepared, job)
    trained = {key: arm for key, arm in job.arms.items() if arm.steps}
    if trained:
        backbone = train_run(run, folder, resume=_goes_on(run, folder), observe=observe, backbone=backbone)
        subjects = {subject.name: subject for subject in open_subjects(run, folder, backbone)}
    else:
        bank = AdapterBank(backbone or load_base(prepared))
        subjects = {BASE: Subject(BASE, LocalModel(bank, BASE, prepared.chat, prepared.config))}
    answers = {
        key: answer_arm(prepared, subjects.get(key, subjects[BASE]), arm, job.split) for key, arm in job.arms.items()
    }
    subjects[BASE].model.bank.close()
    seconds = time.monotonic() - started
    tokens = {key: drawn_tokens(run, key) if arm.steps else 0 for key, arm in job.arms.items()}
    whole = sum(tokens.values()) or 1
    return JobResult(
        job,
        tuple(ArmResult(k, arm, tokens[k], seconds * tokens[k] / whole, answers[k]) for k, arm in job.arms.items()),
    )


def _goes_on(run: PreparedRun, folder: RunFolder) -> bool:
    """Whether the folder holds the beginning of this run; one that another version began is begun again."""
    if not folder.config.is_file():
        return False
    if holds_config(folder.config, run.config):
        return True
    folder.clear()
    return False


def run_of(prepared: PreparedRun, job: StudyJob) -> PreparedRun:
    """The run that trains the arms of a job, on rows that were read before."""
    adapters = tuple(arm.adapter(key) for key, arm in job.arms.items() if arm.steps)
    train = prepared.config.train.model_copy(update={"validate_metric": False})  # the loss chooses the step
    fields = {
        "name": job.folder.name,
        "output": str(job.folder.parent),
        "adapters": adapters or "shared",
        "train": train,
    }
    config = prepared.config.model_copy(update=fields)
    plans = plan_adapters(config, prepared.tasks) if adapters else ()
    return replace(prepared, config=config, plans=plans, retention={})


def drawn_tokens(run: PreparedRun, key: str) -> int:
    """Tokens that an adapter of a run draws, as if no prefix were shared."""
    plan = next(plan for plan in run.plans if plan.spec.name == key)
    return round(sum(draws * mean_tokens(run, task) for task, draws in plan.stream.expected_draws().items()))


def mean_tokens(run: PreparedRun, task: str) -> float:
    """Tokens of a mean training row."""
    rows = run.tasks[task].tokens["train"]
    return rows.total / max(1, len(rows))


def answer_arm(prepared: PreparedRun, subject: Subject, arm: Arm, split: Split) -> dict[str, Answers]:
    """A subject's answers to the rows of an arm's tasks."""
    seed, limit = prepared.config.seed, prepared.config.evaluate.limit
    answers: dict[str, Answers] = {}
    for task in arm.tasks:
        item = prepared.tasks[task]
        predictions = predict_task(subject.model, item, split, seed=seed, limit=limit)
        losses = [row.loss for row in predictions if row.loss is not None]
        answers[task] = Answers(item.data.task.score(predictions).value, sum(losses) / len(losses), tuple(predictions))
    return answers


def answer_again(
    prepared: PreparedRun, arms: Mapping[str, Arm], adapters: Mapping[str, Path], split: Split
) -> Iterator[tuple[str, dict[str, Answers]]]:
    """Answers of finished arms to another split, one (key, task -> answers) at a time; arms of 0 steps are the base.

    Args:
        prepared: the run.
        arms: by key.
        adapters: where the weights of each key lie.
        split: whose rows to answer.
    """
    bank = AdapterBank(load_base(prepared))
    for key, arm in arms.items():
        if arm.steps:
            load_adapter(bank, adapters[key], key)
        model = LocalModel(bank, key if arm.steps else BASE, prepared.chat, prepared.config)
        yield key, answer_arm(prepared, Subject(key, model), arm, split)
        if arm.steps:
            bank.remove(key)


def clear_job(job: StudyJob) -> None:
    """Remove the run folder of a job whose arms are kept."""
    delete_folder(job.folder, job.folder.parent)


def clear_jobs(folder: Path) -> None:
    """Remove what is left of all jobs, such as of one whose removal was killed."""
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        delete_folder(place, folder)


def unfinished_jobs(folder: Path, wanted: Collection[str], missing: Collection[str]) -> list[tuple[str, ...]]:
    """Keys of the arms of each job that was stopped.

    Args:
        folder: of all jobs. One with an arm that is not wanted any more, or of which none is missing, is deleted.
        wanted: keys.
        missing: those that are not kept yet.
    """
    found: list[tuple[str, ...]] = []
    for place in sorted(folder.glob("*/config.yaml")):
        adapters = load_config(place).adapters
        keys = tuple(adapter.name for adapter in adapters if not isinstance(adapter, str))
        goes_on = all(key in wanted for key in keys) and any(key in missing for key in keys)
        if goes_on and job_name(keys) == place.parent.name:
            found.append(keys)
        else:
            delete_folder(place.parent, folder)
    return found


def job_name(keys: Sequence[str]) -> str:
    """Name of the run folder that trains these arms."""
    return "job-" + hashlib.sha256(" ".join(keys).encode()).hexdigest()[:12]


def load_base(prepared: PreparedRun) -> Backbone:
    """The base of a run."""
    return load_backbone(prepared.ref, prepared.config.device, prepared.config.dtype, prepared.config.quantization)
