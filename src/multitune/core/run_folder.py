"""What a run, a search and a study keep on disk: the one module that knows their file names."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from multitune.core.errors import RunFolderError
from multitune.core.locks import is_locked

# In the folder of a routing version: the table, and what the router is worth or what a change of the tasks did.
ROUTING_TABLE, ROUTING_REPORT, ROUTING_CHANGE = "table.json", "report.json", "change.json"


def _foreign(folder: Path, ours: set[str]) -> list[str]:
    """Names in a folder that are not ours; parts of unfinished writes are."""
    names = [path.name for path in folder.iterdir() if not path.name.startswith((".part-", ".old-"))]
    return sorted(name for name in names if name not in ours)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the parts of a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved run file."""
        return self.path / "config.yaml"

    @property
    def versions(self) -> Path:
        """Versions of the packages and the machine."""
        return self.path / "versions.json"

    @property
    def data(self) -> Path:
        """Content hashes, counts and notes of every task's data."""
        return self.path / "data.json"

    @property
    def events(self) -> Path:
        """One JSON line per step, validation and decision."""
        return self.path / "events.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that trains or evaluates the run."""
        return self.path / "lock"

    @property
    def checkpoint(self) -> Path:
        """The last complete training state."""
        return self.path / "checkpoint"

    @property
    def selection(self) -> Path:
        """Which step won, per adapter and criterion."""
        return self.path / "selection.json"

    @property
    def scores(self) -> Path:
        """The final table as data."""
        return self.path / "scores.json"

    @property
    def report(self) -> Path:
        """The report as one page for a browser."""
        return self.path / "report.html"

    def adapter(self, name: str) -> Path:
        """A finished adapter, in PEFT's format."""
        return self.path / "adapters" / name

    @property
    def adapters(self) -> dict[str, Path]:
        """Name -> folder of every finished adapter, those of tasks that joined later among them."""
        own = {path.name: path for path in sorted((self.path / "adapters").glob("[!.]*")) if path.is_dir()}
        for task in self.joined:
            own |= self.added(task).adapters
        return own

    def snapshot(self, name: str, step: int) -> Path:
        """An adapter as it was after `step` optimizer steps."""
        return self.path / "snapshots" / name / f"step-{step:06d}"

    def predictions(self, adapter: str, task: str, split: str) -> Path:
        """Answers of one adapter (or the base) to one task's rows, one JSON line each."""
        return self.path / "predictions" / adapter / f"{task}.{split}.jsonl"

    def answered(self, task: str, split: str) -> list[str]:
        """Names of the base and the adapters whose predictions of these rows lie here; other models have a `~`."""
        found = (path.parent.name for path in (self.path / "predictions").glob(f"*/{task}.{split}.jsonl"))
        return sorted(name for name in found if "~" not in name)

    def prompts(self, task: str, split: str) -> Path:
        """What the subjects were asked, one JSON line of id and prompt for each row."""
        return self.path / "prompts" / f"{task}.{split}.jsonl"

    def comparison(self, subject: str) -> Path:
        """How the run's adapters compare with another model on the same rows."""
        return self.path / "comparisons" / f"{subject}.json"

    @property
    def routing_versions(self) -> list[Path]:
        """Folders of the routing versions, oldest first; the last one is in force."""
        return sorted((self.path / "routing").glob("v[0-9]*"))

    def next_routing(self) -> Path:
        """The folder of the version after the last one."""
        return self.path / "routing" / f"v{len(self.routing_versions) + 1:04d}"

    def added(self, task: str) -> "RunFolder":
        """The run that a task joined with later."""
        return RunFolder(self.path / "added" / task)

    @property
    def joined(self) -> list[str]:
        """Tasks that joined later and were trained to the end, by name."""
        return sorted(path.parent.name for path in (self.path / "added").glob("*/scores.json"))

    def evaluation(self, name: str) -> "RunFolder":
        """Another evaluation of the same adapters: its scores, predictions and prompts lie as a run's do."""
        return RunFolder(self.path / "evaluations" / name)

    @property
    def evaluations(self) -> list[str]:
        """Names of the other evaluations."""
        return sorted(path.parent.name for path in (self.path / "evaluations").glob("*/scores.json"))

    @property
    def comparisons(self) -> list[Path]:
        """Files of the comparisons with other models."""
        return sorted((self.path / "comparisons").glob("*.json"))

    @property
    def is_held(self) -> bool:
        """Whether a process trains or evaluates this run now; see `hold`."""
        return is_locked(self.lock)

    @property
    def foreign(self) -> list[str]:
        """Names in the folder that no run writes."""
        files = self.config, self.versions, self.data, self.events, self.selection, self.scores, self.report, self.lock
        folders = "checkpoint adapters snapshots predictions prompts comparisons routing added evaluations tracking"
        return _foreign(self.path, {*(file.name for file in files), *folders.split()})

    def drop_training(self) -> None:
        """Delete what only training needs: checkpoint and snapshots."""
        for part in (self.checkpoint, self.path / "snapshots"):
            shutil.rmtree(part, ignore_errors=True)

    def drop_weights(self) -> None:
        """Delete checkpoint, snapshots and adapters; the event log and the results stay."""
        self.drop_training()
        shutil.rmtree(self.path / "adapters", ignore_errors=True)

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
class TuneFolder:
    """Names of the parts of a tuning's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved run file that the search started from."""
        return self.path / "config.yaml"

    @property
    def journal(self) -> Path:
        """Every trial, as Optuna's journal."""
        return self.path / "journal.log"

    @property
    def report(self) -> Path:
        """The table of trials as data."""
        return self.path / "trials.json"

    @property
    def best(self) -> Path:
        """The run file with the chosen settings."""
        return self.path / "best.yaml"

    @property
    def lock(self) -> Path:
        """Held by the process that searches."""
        return self.path / "lock"

    @property
    def is_held(self) -> bool:
        """Whether a process searches now."""
        return is_locked(self.lock)

    @property
    def foreign(self) -> list[str]:
        """Names in the folder that no search writes."""
        files = self.config, self.journal, self.report, self.best, self.lock
        return _foreign(self.path, {*(file.name for file in files), "trials", f"{self.journal.name}.lock"})

    def clear(self) -> None:
        """Delete the search."""
        shutil.rmtree(self.path)

    def trial(self, number: int) -> RunFolder:
        """The run of one trial, counted from 0."""
        return RunFolder(self.path / "trials" / f"{number:04d}")


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """Names of the parts of a study's folder; an arm's folder is written once and never changed."""

    path: Path

    @property
    def config(self) -> Path:
        """The study file as it was understood."""
        return self.path / "study.yaml"

    @property
    def versions(self) -> Path:
        """Versions of the packages and the machine."""
        return self.path / "versions.json"

    @property
    def data(self) -> Path:
        """Content hashes of every set."""
        return self.path / "data.json"

    @property
    def findings(self) -> Path:
        """What the study found (see study.findings)."""
        return self.path / "findings.json"

    @property
    def jobs(self) -> Path:
        """Run folders of arms that are being trained."""
        return self.path / "jobs"

    @property
    def signatures(self) -> Path:
        """Projected gradients of rows, by key."""
        return self.path / "signatures"

    @property
    def proxies(self) -> Path:
        """Validation losses of proxy runs."""
        return self.path / "proxies.json"

    @property
    def recommended(self) -> Path:
        """The run file of what the study recommends."""
        return self.path / "recommended.yaml"

    @property
    def report(self) -> Path:
        """The report as one page for a browser."""
        return self.path / "report.html"

    @property
    def lock(self) -> Path:
        """Held by the process that is at work on the study."""
        return self.path / "lock"

    @property
    def is_held(self) -> bool:
        """Whether a process is at work on it now."""
        return is_locked(self.lock)

    @property
    def foreign(self) -> list[str]:
        """Names in the folder that no study writes."""
        files = self.config, self.versions, self.data, self.findings, self.proxies, self.recommended, self.report
        parts = self.lock, self.jobs, self.signatures, self.path / "arms"
        return _foreign(self.path, {path.name for path in (*files, *parts)} | {"waves"})

    def clear(self) -> None:
        """Delete the study."""
        shutil.rmtree(self.path)

    def arm(self, key: str) -> Path:
        """An arm's folder."""
        return self.path / "arms" / key

    def adapter(self, key: str) -> Path:
        """An arm's weights, in PEFT's format."""
        return self.arm(key) / "adapter"
