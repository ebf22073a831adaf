"""The study runner: arms that were asked for, trained by an executor, kept in the study's folder, and read back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from multitune.core.events import Observe
from multitune.core.records import Prediction, Split
from multitune.core.results.events import NoteEvent
from multitune.core.results.study import ArmRecord
from multitune.core.run_folder import RunFolder, StudyFolder
from multitune.study.arms import (
    Answers,
    Arm,
    arm_key,
    has_result,
    load_predictions,
    load_record,
    store_answers,
    store_result,
)
from multitune.study.executors import Executor
from multitune.study.jobs import StudyJob, answer_again, clear_job, job_name, unfinished_jobs
from multitune.study.plan import Planner
from multitune.training.prepare import PreparedRun


@dataclass(slots=True)
class StudyRunner:
    """The data, models and folder of a study."""

    prepared: PreparedRun
    planner: Planner
    folder: StudyFolder
    executor: Executor
    observe: Observe
    asked: dict[str, Arm] = field(default_factory=dict[str, Arm])  # by key, in the order they were asked for

    def key(self, arm: Arm) -> str:
        """The arm's key."""
        return arm_key(arm, self.prepared.config, self.prepared.tasks)

    def train(self, arms: Iterable[Arm]) -> None:
        """Train what is not there yet, long arms first, several side by side."""
        wanted = {self.key(arm): arm for arm in arms}
        self.asked |= wanted
        missing = {key: arm for key, arm in wanted.items() if not has_result(self.folder, key)}
        if not missing:
            return
        self.observe(NoteEvent(text=f"{len(missing)} of {len(wanted)} arms to train"))
        jobs = [
            StudyJob({key: wanted[key] for key in keys}, self.folder.jobs / job_name(keys))
            for keys in self._jobs(wanted, missing)
        ]
        for result in self.executor.run(self.prepared, jobs):
            for one in (one for one in result.arms if one.key in missing):
                trained = RunFolder(result.job.folder).adapter(one.key) if one.arm.steps else None
                store_result(self.folder, one, result.job.split, trained)
                self._tell(one.arm, one.answers)
            clear_job(result.job)

    def _jobs(self, wanted: Mapping[str, Arm], missing: Mapping[str, Arm]) -> Iterator[tuple[str, ...]]:
        """Keys of each job: stopped ones first, then arms of like length side by side.

        Of a stopped job some arms may be kept already. It goes on as it was: an arm that is trained beside others
        ends in other last digits than alone.
        """
        left = dict(missing)
        for keys in unfinished_jobs(self.folder.jobs, wanted, missing):
            for key in keys:
                left.pop(key, None)
            yield keys
        untrained = tuple(key for key, arm in left.items() if not arm.steps)
        if untrained:
            yield untrained
        order = sorted((key for key in left if left[key].steps), key=lambda key: (-left[key].steps, key))
        size = self.planner.study.arms_at_once
        yield from (tuple(order[start : start + size]) for start in range(0, len(order), size))

    def record(self, arm: Arm) -> ArmRecord:
        """A finished arm's record (see arms.load_record)."""
        return load_record(self.folder, self.key(arm))

    def answer(self, arms: Sequence[Arm], split: Split) -> None:
        """Let finished arms answer another split, where they have not yet."""
        missing = {key: arm for arm in arms if not (self.folder.arm(key := self.key(arm)) / f"{split}.json").is_file()}
        if not missing:
            return
        self.observe(NoteEvent(text=f"{len(missing)} arms answer the {split} rows"))
        adapters = {key: self.folder.adapter(key) for key in missing}
        for key, answers in answer_again(self.prepared, missing, adapters, split):
            store_answers(self.folder, key, split, answers)
            self._tell(missing[key], answers)

    def _tell(self, arm: Arm, answers: Mapping[str, Answers]) -> None:
        shown = ", ".join(f"{task} {answer.score:.3f}" for task, answer in answers.items())
        self.observe(NoteEvent(text=f"arm {arm.name} ({arm.steps} steps): {shown}"))

    def predictions(self, arm: Arm, task: str, split: Split) -> list[Prediction]:
        """The answers of a finished arm."""
        return load_predictions(self.folder, self.key(arm), task, split)
