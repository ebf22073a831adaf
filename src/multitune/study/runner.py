"""The study runner: arms that were asked for, trained by an executor, kept in the study's folder, and read back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from multitune.core.events import Observe
from multitune.core.files import read_json, write_json
from multitune.core.records import Prediction, Segments, Split
from multitune.core.results.events import NoteEvent
from multitune.core.results.study import ArmRecord
from multitune.core.run_folder import RunFolder, StudyFolder
from multitune.core.seeds import generator
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter
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
from multitune.study.jobs import StudyJob, answer_again, clear_job, job_name, load_base, unfinished_jobs
from multitune.study.plan import Planner
from multitune.study.proxy import proxy_losses
from multitune.study.signatures import Signatures, load_signatures, row_signatures, save_signatures
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
    signature_seconds: float = 0.0  # that the gradients took, whenever they were made

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

    def signatures(self, arm: Arm, split: Split) -> dict[str, Signatures]:
        """Projected gradients of rows of each task under a finished arm; kept, so that they are made once."""
        found: dict[str, Signatures] = {}
        bank: AdapterBank | None = None
        config = self.prepared.config
        for task in arm.tasks:
            rows = self.planner.signature_rows(task)
            file = self.folder.signatures / f"{self.key(arm)}.{task}.{split}.{rows}.safetensors"
            if not file.is_file():
                if bank is None:
                    bank = AdapterBank(load_base(self.prepared))
                    load_adapter(bank, self.folder.adapter(self.key(arm)), "shared")
                self.observe(NoteEvent(text=f"gradients of {task}'s {split} rows"))
                chosen = self.rows(task, split, rows)
                save_signatures(file, row_signatures(bank, "shared", chosen, config.train.pack_tokens, config.seed))
            found[task] = load_signatures(file)
            self.signature_seconds += found[task].seconds
        return found

    def proxies(self, arms: Sequence[Arm]) -> dict[Arm, dict[str, float]]:
        """Validation losses of arms whose upper layers alone were trained; kept, and made where they are missing."""
        kept = read_json(self.folder.proxies) if self.folder.proxies.is_file() else {}
        missing = {key: arm for arm in arms if (key := self.key(arm)) not in kept}
        if missing:
            self.observe(NoteEvent(text=f"{len(missing)} proxy runs on the upper layers"))
            kept |= proxy_losses(self.prepared, StudyJob(missing, self.folder.jobs / "proxies"), self.observe)
            write_json(self.folder.proxies, kept)
        return {arm: kept[self.key(arm)] for arm in arms}

    def embedding_table(self) -> np.ndarray:
        """The base's token embeddings, float32 (token, dimension)."""
        model = load_base(self.prepared).model
        return model.get_input_embeddings().weight.detach().float().cpu().numpy()

    def rows(self, task: str, split: Split, most: int) -> list[Segments]:
        """Some rows of a task, drawn by the run's seed."""
        tokens = self.prepared.tasks[task].tokens[split]
        order = generator(self.prepared.config.seed, "signatures", task, split).permutation(len(tokens))
        return [tokens[int(i)] for i in np.sort(order[:most])]
