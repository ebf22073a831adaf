"""What a run, a search and a study keep on disk: the one module that knows their file names."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from multitune.core.errors import RunFolderError
from multitune.core.locks import is_locked

# In the folder of a routing version: the table, and what the router is worth or what a change of the tasks did.
ROUTING_TABLE, ROUTING_REPORT, ROUTING_CHANGE = "table.json", "report.json", "change.json"


class Part:
    """A file or folder that has the same name in every folder of its kind."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: "Folder", kind: type) -> Path:
        return folder.path / self.name


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of ours: its parts are what its class names, and `foreign` is what else lies there."""

    path: Path
    lock = Part("lock")  # held by the process that is at work in it

    @property
    def is_held(self) -> bool:
        """Whether a process is at work in it now."""
        return is_locked(self.lock)

    @property
    def foreign(self) -> list[str]:
        """Names in the folder that are not ours; parts of unfinished writes are."""
        ours = {part.name for kind in type(self).__mro__ for part in vars(kind).values() if isinstance(part, Part)}
        names = [path.name for path in self.path.iterdir() if not path.name.startswith((".part-", ".old-"))]
        return sorted(name for name in names if name not in ours)

    def clear(self) -> None:
        """Delete it, with all that it holds."""
        shutil.rmtree(self.path)


@dataclass(frozen=True, slots=True)
class RunFolder(Folder):
    """Names of the parts of a run's folder."""

    config = Part("config.yaml")  # the resolved run file
    versions = Part("versions.json")  # of the packages, and the machine
    data = Part("data.json")  # content hashes, counts and notes of every task's data
    events = Part("events.jsonl")  # one JSON line per step, validation and decision
    checkpoint = Part("checkpoint")  # the last complete training state
    selection = Part("selection.json")  # which step won, per adapter and criterion
    scores = Part("scores.json")  # the final table as data
    report = Part("report.html")  # the report as one page for a browser
    _adapters, _snapshots = Part("adapters"), Part("snapshots")
    _predictions, _prompts, _comparisons = Part("predictions"), Part("prompts"), Part("comparisons")
    _routing, _added, _evaluations = Part("routing"), Part("added"), Part("evaluations")
    _tracking = Part("tracking")  # what trackers write

    def adapter(self, name: str) -> Path:
        """A finished adapter, in PEFT's format."""
        return self._adapters / name

    @property
    def adapters(self) -> dict[str, Path]:
        """Name -> folder of every finished adapter, those of tasks that joined later among them."""
        own = {path.name: path for path in sorted(self._adapters.glob("[!.]*")) if path.is_dir()}
        for task in self.joined:
            own |= self.added(task).adapters
        return own

    def snapshot(self, name: str, step: int) -> Path:
        """An adapter as it was after `step` optimizer steps."""
        return self._snapshots / name / f"step-{step:06d}"

    def predictions(self, adapter: str, task: str, split: str) -> Path:
        """Answers of one adapter (or the base) to one task's rows, one JSON line each."""
        return self._predictions / adapter / f"{task}.{split}.jsonl"

    def answered(self, task: str, split: str) -> list[str]:
        """Names of the base and the adapters whose predictions of these rows lie here; other models have a `~`."""
        found = (path.parent.name for path in (self.path / "predictions").glob(f"*/{task}.{split}.jsonl"))
        return sorted(name for name in found if "~" not in name)

    def prompts(self, task: str, split: str) -> Path:
        """What the subjects were asked, one JSON line of id and prompt for each row."""
        return self._prompts / f"{task}.{split}.jsonl"

    def comparison(self, subject: str) -> Path:
        """How the run's adapters compare with another model on the same rows."""
        return self._comparisons / f"{subject}.json"

    @property
    def routing_versions(self) -> list[Path]:
        """Folders of the routing versions, oldest first; the last one is in force."""
        return sorted(self._routing.glob("v[0-9]*"))

    def next_routing(self) -> Path:
        """The folder of the version after the last one."""
        return self._routing / f"v{len(self.routing_versions) + 1:04d}"

    def added(self, task: str) -> "RunFolder":
        """The run that a task joined with later."""
        return RunFolder(self._added / task)

    @property
    def joined(self) -> list[str]:
        """Tasks that joined later and were trained to the end, by name."""
        return sorted(path.parent.name for path in self._added.glob("*/scores.json"))

    def evaluation(self, name: str) -> "RunFolder":
        """Another evaluation of the same adapters: its scores, predictions and prompts lie as a run's do."""
        return RunFolder(self._evaluations / name)

    @property
    def evaluations(self) -> list[str]:
        """Names of the other evaluations."""
        return sorted(path.parent.name for path in self._evaluations.glob("*/scores.json"))

    @property
    def comparisons(self) -> list[Path]:
        """Files of the comparisons with other models."""
        return sorted(self._comparisons.glob("*.json"))

    def drop_training(self) -> None:
        """Delete what only training needs: checkpoint and snapshots."""
        for part in (self.checkpoint, self._snapshots):
            shutil.rmtree(part, ignore_errors=True)

    def drop_weights(self) -> None:
        """Delete checkpoint, snapshots and adapters; the event log and the results stay."""
        self.drop_training()
        shutil.rmtree(self._adapters, ignore_errors=True)

    def clear(self) -> None:
        """Delete a run that is to be started over; anything that is not a run folder is refused.

        Raises:
            RunFolderError: the folder holds something else.
        """
        if self.path.exists() and any(self.path.iterdir()):
            shutil.rmtree(self.require().path)

    def require(self) -> "RunFolder":
        """Itself, if it holds a run.

        Raises:
            RunFolderError: it does not.
        """
        if not self.config.is_file():
            raise RunFolderError(
                f"{self.path}: not a run folder (no {self.config.name}). Give the folder that `multitune train` made"
            )
        return self


@dataclass(frozen=True, slots=True)
class TuneFolder(Folder):
    """Names of the parts of a tuning's folder."""

    config = Part("config.yaml")  # the resolved run file that the search started from
    journal = Part("journal.log")  # every trial, as Optuna's journal
    report = Part("trials.json")  # the table of trials as data
    best = Part("best.yaml")  # the run file with the chosen settings
    _trials, _journal_lock = Part("trials"), Part("journal.log.lock")

    def trial(self, number: int) -> RunFolder:
        """The run of one trial, counted from 0."""
        return RunFolder(self._trials / f"{number:04d}")


@dataclass(frozen=True, slots=True)
class StudyFolder(Folder):
    """Names of the parts of a study's folder; an arm's folder is written once and never changed."""

    config = Part("study.yaml")  # the study file as it was understood
    versions = Part("versions.json")  # of the packages, and the machine
    data = Part("data.json")  # content hashes of every set
    findings = Part("findings.json")  # what the study found (see study.findings)
    jobs = Part("jobs")  # run folders of arms that are being trained
    signatures = Part("signatures")  # projected gradients of rows, by key
    proxies = Part("proxies.json")  # validation losses of proxy runs
    recommended = Part("recommended.yaml")  # the run file of what the study recommends
    report = Part("report.html")  # the report as one page for a browser
    arms = Part("arms")  # finished arms, by key
    _waves = Part("waves")  # jobs of older versions

    def arm(self, key: str) -> Path:
        """An arm's folder."""
        return self.arms / key

    def adapter(self, key: str) -> Path:
        """An arm's weights, in PEFT's format."""
        return self.arm(key) / "adapter"
