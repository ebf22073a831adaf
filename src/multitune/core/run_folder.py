"""What a run, a search and a study keep on disk: the one module that knows their file names."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from multitune.core.errors import RunFolderError
from multitune.core.files import OLD, PART, delete_folder
from multitune.core.locks import is_locked, only_one
from multitune.core.text import printable

# In the folder of a routing version: the table, and what the router is worth or what a change of the tasks did.
ROUTING_TABLE, ROUTING_REPORT, ROUTING_CHANGE = "table.json", "report.json", "change.json"

# Names of the files of an adapter in PEFT's format, and of a whole model with its tokenizer.
WEIGHTS = ("*.safetensors", "*.json", "README.md", "tokenizer.model", "merges.txt", "vocab.txt", "chat_template.jinja")


class Part:
    """A file or folder that has the same name in every folder of its kind."""

    def __init__(self, name: str, *inside: str) -> None:
        """Name it; `inside` are patterns of the files in a folder, where `**` is whatever lies there."""
        self.name = name
        self._inside = inside

    def __get__(self, folder: "Folder", kind: type) -> Path:
        return folder.path / self.name

    def foreign(self, path: Path) -> list[str]:
        """Places of files and links below one of these that are not ours, from its folder on."""
        if not self._inside:
            return [] if path.is_file() or path.is_symlink() else [path.name]
        if not path.is_dir() or path.is_symlink():
            return [path.name]
        return [f"{path.name}/{place}" for place in _files(path) if not any(_fits(place, p) for p in self._inside)]


class RunsPart(Part):
    """A folder that holds run folders."""

    def foreign(self, path: Path) -> list[str]:
        """As of a part."""
        if not path.is_dir() or path.is_symlink():
            return [path.name]
        found: list[str] = []
        for run in path.iterdir():
            if not run.name.startswith((PART, OLD)):
                inside = RunFolder(run).foreign if run.is_dir() and not run.is_symlink() else [""]
                found += [f"{path.name}/{run.name}/{place}".rstrip("/") for place in inside]
        return found


def _files(folder: Path) -> Iterable[str]:
    """Places in a folder of all files and links; of unfinished writes, none."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = [name for name in folders if not name.startswith((PART, OLD))]
        for name in (*files, *links):
            if not name.startswith((PART, OLD)):
                yield (Path(parent) / name).relative_to(folder).as_posix()


def _fits(place: str, pattern: str) -> bool:
    if pattern == "**":
        return True
    names, wanted = place.split("/"), pattern.split("/")
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))


@dataclass(frozen=True, slots=True)
class Folder(ABC):
    """A folder of ours: its parts are what its class names, and `foreign` is what else lies there."""

    path: Path
    lock = Part("lock")  # held by the process that is at work in it

    @property
    def is_held(self) -> bool:
        """Whether a process is at work in it now."""
        return is_locked(self.lock)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was kept in it yet."""
        return not self.kept

    @property
    def kept(self) -> set[Path]:
        """What lies in it, but for a lock and unfinished writes."""
        inside = self.path.iterdir() if self.path.is_dir() else ()
        return {path for path in inside if path.name != self.lock.name and not path.name.startswith((PART, OLD))}

    @property
    def foreign(self) -> list[str]:
        """Places in the folder, at any depth, of what is not ours; parts of unfinished writes are."""
        parts = {
            part.name: part for kind in type(self).__mro__ for part in vars(kind).values() if isinstance(part, Part)
        }
        found: list[str] = []
        for path in self.path.iterdir():
            if path.name in parts:
                found += parts[path.name].foreign(path)
            elif not path.name.startswith((PART, OLD)):
                found.append(path.name)
        return sorted(found)

    @property
    @abstractmethod
    def marks(self) -> tuple[Path, ...]:
        """Files of which at least one shows that the folder is ours."""

    def require_own(self) -> None:
        """Refuse a folder that may not be deleted; a process at work in it is not asked for.

        Raises:
            RunFolderError: it is a link, is none of ours, or holds something else besides.
        """
        if self.path.is_symlink():
            raise RunFolderError(f"{self.path}: a link. Name the folder that it leads to: {self.path.resolve()}")
        if not any(mark.is_file() for mark in self.marks):
            raise RunFolderError(
                f"{self.path}: not a folder that multitune made (no {self.marks[0].name}), and not deleted. Give the "
                "folder of a run, a study or a search"
            )
        if self.foreign:
            raise RunFolderError(
                f"{self.path}: also holds what is no part of it ({', '.join(map(printable, self.foreign[:5]))}), and "
                "was not deleted. Move that away first"
            )

    def clear(self) -> None:
        """Delete all that it holds but the lock, so that it can be started over.

        Raises:
            RunFolderError: see `require_own`; nothing was deleted.
            StorageError: it cannot be deleted.
        """
        if self.is_empty:
            return
        self.require_own()
        for path in sorted(self.path.iterdir()):
            if path.name != self.lock.name:
                delete_folder(path, self.path)

    def delete(self) -> None:
        """Delete it, with all that it holds; no other process can begin to work in it meanwhile.

        Raises:
            RunFolderError: see `require_own`, or a process is at work in it; nothing was deleted.
            StorageError: it cannot be deleted.
        """
        self.require_own()
        with only_one(self.lock):
            self.clear()
        delete_folder(self.path, self.path.parent)


def child(folder: Path, name: str) -> Path:
    """The place of a part that is named after a task, an adapter or the like.

    Raises:
        RunFolderError: no such name; as one of another's run, it could lead anywhere.
    """
    if not name or name.startswith(".") or any(char in name for char in "/\\\0"):
        raise RunFolderError(
            f"{folder}: {printable(repr(name))} is no name of a part of a run. Use letters, digits, '.', '_' and '-'"
        )
    return folder / name


@dataclass(frozen=True, slots=True)
class RunFolder(Folder):
    """Names of the parts of a run's folder."""

    config = Part("config.yaml")  # the resolved run file
    versions = Part("versions.json")  # of the packages, and the machine
    data = Part("data.json")  # content hashes, counts and notes of every task's data
    audit = Part("audit.json")  # what the audit before training found
    base = Part("base.json")  # fingerprints of the base, its chat template and parent adapters
    events = Part("events.jsonl")  # one JSON line per step, validation and decision
    checkpoint = Part("checkpoint", "*.json", "*.safetensors")  # the last complete training state
    checkpoint_before = Part("checkpoint-before", "*.json", "*.safetensors")  # the one before it
    selection = Part("selection.json")  # which step won, per adapter and criterion
    scores = Part("scores.json")  # the final table as data
    robustness = Part("robustness.json")  # scores by group of rows, flips, and scores on perturbed rows
    report = Part("report.html")  # the report as one page for a browser
    _adapters = Part("adapters", *(f"*/{name}" for name in WEIGHTS))
    _snapshots = Part("snapshots", *(f"*/step-*/{name}" for name in WEIGHTS))
    _predictions, _prompts = Part("predictions", "*/*.jsonl"), Part("prompts", "*.jsonl")
    _comparisons, _routing = Part("comparisons", "*.json"), Part("routing", "v*/*.json", "v*/*.safetensors")
    _added, _evaluations = RunsPart("added"), RunsPart("evaluations")
    learning = Part("learning", "state.sqlite*", "lock")  # what a server learned from use
    _tracking = Part("tracking", "**")  # what trackers write

    def adapter(self, name: str) -> Path:
        """A finished adapter, in PEFT's format."""
        return child(self._adapters, name)

    @property
    def adapters(self) -> dict[str, Path]:
        """Name -> folder of every finished adapter, those of tasks that joined later among them."""
        own = {path.name: path for path in sorted(self._adapters.glob("[!.]*")) if path.is_dir()}
        for task in self.joined:
            own |= self.added(task).adapters
        return own

    def snapshot(self, name: str, step: int) -> Path:
        """An adapter as it was after `step` optimizer steps."""
        return child(self._snapshots, name) / f"step-{step:06d}"

    def predictions(self, adapter: str, task: str, split: str) -> Path:
        """Answers of one adapter (or the base) to one task's rows, one JSON line each."""
        return child(child(self._predictions, adapter), f"{task}.{split}.jsonl")

    def answered(self, task: str, split: str) -> list[str]:
        """Names of the base and the adapters whose predictions of these rows lie here; other models have a `~`."""
        found = (path.parent.name for path in (self.path / "predictions").glob(f"*/{task}.{split}.jsonl"))
        return sorted(name for name in found if "~" not in name)

    def prompts(self, task: str, split: str) -> Path:
        """What the subjects were asked, one JSON line of id and prompt for each row."""
        return child(self._prompts, f"{task}.{split}.jsonl")

    def comparison(self, subject: str) -> Path:
        """How the run's adapters compare with another model on the same rows."""
        return child(self._comparisons, f"{subject}.json")

    @property
    def routing_versions(self) -> list[Path]:
        """Folders of the routing versions, oldest first; the last one is in force."""
        return sorted(self._routing.glob("v[0-9]*"))

    def next_routing(self) -> Path:
        """The folder of the version after the last one."""
        return self._routing / f"v{len(self.routing_versions) + 1:04d}"

    def added(self, task: str) -> "RunFolder":
        """The run that a task joined with later."""
        return RunFolder(child(self._added, task))

    @property
    def joined(self) -> list[str]:
        """Tasks that joined later and were trained to the end, by name."""
        return sorted(path.parent.name for path in self._added.glob("*/scores.json"))

    def evaluation(self, name: str) -> "RunFolder":
        """Another evaluation of the same adapters: its scores, predictions and prompts lie as a run's do."""
        return RunFolder(child(self._evaluations, name))

    @property
    def evaluations(self) -> list[str]:
        """Names of the other evaluations."""
        return sorted(path.parent.name for path in self._evaluations.glob("*/scores.json"))

    @property
    def comparisons(self) -> list[Path]:
        """Files of the comparisons with other models."""
        return sorted(self._comparisons.glob("*.json"))

    def drop_training(self) -> None:
        """Delete what only training needs: checkpoints and snapshots."""
        for part in (self.checkpoint, self.checkpoint_before, self._snapshots):
            delete_folder(part, self.path)

    def drop_weights(self) -> None:
        """Delete checkpoints, snapshots and adapters; the event log and the results stay."""
        self.drop_training()
        delete_folder(self._adapters, self.path)

    @property
    def marks(self) -> tuple[Path, ...]:
        """What is written before the run file, which many other programs have too."""
        return (self.versions, self.data)

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
    _trials, _journal_lock = RunsPart("trials"), Part("journal.log.lock")

    @property
    def marks(self) -> tuple[Path, ...]:
        """All but the run file, which many other programs have too."""
        return (self.journal, self.report)

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
    jobs = RunsPart("jobs")  # run folders of arms that are being trained
    recommended = Part("recommended.yaml")  # the run file of what the study recommends
    report = Part("report.html")  # the report as one page for a browser
    arms = Part(
        "arms", "*/*.json", "*/predictions/*.jsonl", *(f"*/adapter/{name}" for name in WEIGHTS)
    )  # finished arms, by key
    _waves = RunsPart("waves")  # jobs of older versions
    _signatures, _proxies = Part("signatures", "*.safetensors"), Part("proxies.json")  # predictions of older versions

    @property
    def marks(self) -> tuple[Path, ...]:
        """Its study file, which it has from the start."""
        return (self.config,)

    def arm(self, key: str) -> Path:
        """An arm's folder."""
        return self.arms / key

    def adapter(self, key: str) -> Path:
        """An arm's weights, in PEFT's format."""
        return self.arm(key) / "adapter"
