"""An arm is one adapter of a study: what it learns from, a key made of exactly that, and where its results lie."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from multitune.config.registered import Schedule
from multitune.config.schema import AdapterConfig, RunConfig
from multitune.core.errors import RunFolderError
from multitune.core.files import copy_folder, delete_folder, read_json, storage, write_json
from multitune.core.predictions import read_predictions, write_predictions
from multitune.core.records import Prediction, Split
from multitune.core.results.base import first_fault
from multitune.core.results.run import DataRecord
from multitune.core.results.study import ArmRecord, ArmScore
from multitune.core.run_folder import StudyFolder
from multitune.data.task_input import TaskInput

RECORDED = {"key", "tasks", "seed", "steps", "general", "schedule", "tokens", "seconds"}  # in arm.json
FORMAT = 1  # counts up when the same settings would train to something else
# What changes neither the draws nor the weights beyond rounding; the adapter states the rest.
ASIDE = ("name", "output", "tasks", "general", "retention", "adapters", "evaluate", "router", "track")


@dataclass(frozen=True, slots=True)
class Arm:
    """One adapter to train: tasks in the run's order, and its budget in optimizer steps; 0 is the base itself."""

    tasks: tuple[str, ...]
    seed: int
    steps: int
    general: float = 0.0  # share of the draws that goes to the general sets
    schedule: Schedule = "anneal"

    @property
    def name(self) -> str:
        """How tables call it."""
        extra = f", {self.general:.0%} general" if self.general else ""
        return " + ".join(self.tasks) + extra

    def adapter(self, key: str) -> AdapterConfig:
        """The adapter of a run that trains it."""
        return AdapterConfig(
            name=key,
            tasks=self.tasks,
            general=self.general or False,
            steps=self.steps,
            seed=self.seed,
            schedule=self.schedule,
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions of an arm for the rows of one task and split, and their score."""

    score: float  # the task's metric
    loss: float  # mean over the rows, nats per answer token
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """A trained arm: its cost, and its answers by task on the split that is chosen by."""

    key: str
    arm: Arm
    tokens: int  # tokens drawn, as if no prefix were shared
    seconds: float  # its part of the time of the job that trained it
    answers: Mapping[str, Answers]


def arm_key(arm: Arm, config: RunConfig, tasks: Mapping[str, TaskInput]) -> str:
    """16 hex digits over all that decides what the arm learns: rows, prompts, adapter, settings and base."""
    general = [task.name for task in config.general] if arm.general else []
    members = [*arm.tasks, *general]
    # Without defaults: a field that a later version adds must not change the keys of older arms.
    settings = {
        task.name: task.model_dump(mode="json", exclude={"data"}, exclude_defaults=True)
        for task in (*config.tasks, *config.general)
    }
    content = {
        "format": FORMAT,
        "arm": asdict(arm),
        "sets": {name: [dict(tasks[name].data.digests), settings[name]] for name in members},
        "config": config.model_dump(mode="json", exclude=set(ASIDE), exclude_defaults=True),
        "evaluate": config.evaluate.limit,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def has_result(folder: StudyFolder, key: str) -> bool:
    """Whether an arm is finished; its record is the last file of it that is written."""
    return (folder.arm(key) / "arm.json").is_file()


def store_result(folder: StudyFolder, result: ArmResult, split: Split, adapter: Path | None) -> None:
    """Keep a finished arm and a copy of its weights, which its job may be asked for again."""
    place = folder.arm(result.key)
    if adapter is not None:
        delete_folder(folder.adapter(result.key), folder.path)
        with storage(place):
            place.mkdir(parents=True, exist_ok=True)
            copy_folder(adapter, folder.adapter(result.key))
    store_answers(folder, result.key, split, result.answers)
    record = ArmRecord(key=result.key, **asdict(result.arm), tokens=result.tokens, seconds=result.seconds)
    write_json(place / "arm.json", record.model_dump(mode="json", include=RECORDED))


def store_answers(folder: StudyFolder, key: str, split: Split, answers: Mapping[str, Answers]) -> None:
    """Keep the answers of an arm to one split."""
    for task, one in answers.items():
        write_predictions(folder.arm(key) / "predictions" / f"{task}.{split}.jsonl", one.predictions)
    scores = {
        task: ArmScore(score=one.score, loss=one.loss, examples=len(one.predictions)) for task, one in answers.items()
    }
    write_json(folder.arm(key) / f"{split}.json", {task: score.plain() for task, score in scores.items()})


def load_record(folder: StudyFolder, key: str) -> ArmRecord:
    """A finished arm: what it learned from, cost, and its scores on the splits that it answered.

    Raises:
        RunFolderError: it is damaged.
    """
    files = {split: folder.arm(key) / f"{split}.json" for split in ("validation", "test")}
    scores = {split: read_json(file) if file.exists() else {} for split, file in files.items()}
    record = folder.arm(key) / "arm.json"
    try:
        return ArmRecord.model_validate({**read_json(record), **scores})
    except (ValidationError, TypeError) as error:
        raise RunFolderError(
            f"{record}: damaged: {first_fault(error)}. Delete the folder {record.parent} to train this arm again"
        ) from error


def load_predictions(folder: StudyFolder, key: str, task: str, split: Split) -> list[Prediction]:
    """The answers of an arm to one task's rows."""
    return read_predictions(folder.arm(key) / "predictions" / f"{task}.{split}.jsonl")


def require_same_data(folder: StudyFolder, record: DataRecord) -> None:
    """Refuse to mix arms that were trained on different rows.

    Args:
        folder: of the study.
        record: what PreparedRun.data_record says now.

    Raises:
        RunFolderError: the rows of a set changed since the study began.
    """
    if not folder.data.is_file():
        return
    before = DataRecord.read(folder.data).sets
    changed = [name for name, now in record.sets.items() if name in before and before[name] != now]
    if changed:
        finished = sum(1 for _ in folder.arms.glob("*/arm.json"))
        raise RunFolderError(
            f"{folder.data}: the rows of {changed[0]!r} changed since the study began, so its arms could not be "
            f"compared. Put them back, or give the study another `name`; its {finished} finished arms are kept"
        )
