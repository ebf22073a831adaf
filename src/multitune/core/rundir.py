"""A run is a folder; only this file knows its file names, and everything in it is written whole or not at all."""

import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from multitune.core.errors import RunFolderError, StorageError

ROUTING_TABLE, ROUTING_REPORT = "table.json", "report.json"  # in the folder of a routing version


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

    def snapshot(self, name: str, step: int) -> Path:
        """An adapter as it was after `step` optimizer steps."""
        return self.path / "snapshots" / name / f"step-{step:06d}"

    def predictions(self, adapter: str, task: str, split: str) -> Path:
        """What one adapter (or the base) said to one task's rows, one JSON line each."""
        return self.path / "predictions" / adapter / f"{task}.{split}.jsonl"

    def prompts(self, task: str, split: str) -> Path:
        """What the subjects were asked, one JSON line of id and prompt for each row."""
        return self.path / "prompts" / f"{task}.{split}.jsonl"

    def comparison(self, subject: str) -> Path:
        """How the run's adapters compare with another model on the same rows."""
        return self.path / "comparisons" / f"{subject}.json"

    @property
    def routing_versions(self) -> list[Path]:
        """Folders of the routing versions, oldest first; the last one holds."""
        return sorted((self.path / "routing").glob("v[0-9]*"))

    def next_routing(self) -> Path:
        """The folder of the version after the last one."""
        return self.path / "routing" / f"v{len(self.routing_versions) + 1:04d}"

    def added(self, task: str) -> "RunFolder":
        """The run that a task joined with later."""
        return RunFolder(self.path / "added" / task)

    @property
    def is_held(self) -> bool:
        """Whether a process trains or evaluates this run now; see `hold`."""
        try:
            with self.events.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no diary, or a file system without locks
            return False
        return False

    @property
    def strangers(self) -> list[str]:
        """Names in the folder that no run writes."""
        files = self.config, self.versions, self.data, self.events, self.selection, self.scores, self.report
        folders = (
            "checkpoint",
            "adapters",
            "snapshots",
            "predictions",
            "prompts",
            "comparisons",
            "routing",
            "added",
            "tracking",
        )
        ours = {*(file.name for file in files), *folders}
        unfinished = (".part-", ".old-")
        names = [path.name for path in self.path.iterdir() if not path.name.startswith(unfinished)]
        return sorted(name for name in names if name not in ours)

    def drop_weights(self) -> None:
        """Delete checkpoint, snapshots and adapters; the diary and what else is told of the run stay."""
        for part in ("checkpoint", "snapshots", "adapters"):
            shutil.rmtree(self.path / part, ignore_errors=True)

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


def hold(diary: IO[bytes], attempts: int = 20) -> None:
    """Lock an open diary for whoever writes it: the lock goes with the process, however that ends.

    Whoever asks `RunFolder.is_held` holds a lock for an instant too, hence the attempts, a tenth of a second apart.

    Raises:
        RunFolderError: another process writes it.
    """
    for attempt in range(attempts):
        try:
            fcntl.flock(diary, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if attempt == attempts - 1:
                raise RunFolderError(
                    f"{diary.name}: another process is training this run. Wait for it (`multitune watch`), or stop it"
                ) from error
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return
        else:
            return


@contextmanager
def only_one(folder: Path) -> Generator[None]:
    """Hold a folder, made here if need be, against a second process that would work in it too.

    Raises:
        RunFolderError: another process holds it.
        StorageError: it cannot be made.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    with lock:
        try:
            hold(lock, attempts=1)
        except RunFolderError as error:
            raise RunFolderError(
                f"{folder}: another process is at work here. Wait for it, or stop it first"
            ) from error
        yield


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

    def trial(self, number: int) -> RunFolder:
        """The run of one trial, counted from 0."""
        return RunFolder(self.path / "trials" / f"{number:04d}")


@contextmanager
def storage(path: Path) -> Generator[None]:
    """Turn a full or read-only disk into one clear error about `path`."""
    try:
        yield
    except OSError as error:
        reasons = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(
            f"{path}: could not be written ({reason}). Free some space or choose another `output`; "
            "what was saved before is intact"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old text or the new one, never a part."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file as a whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_folder(
    folder: Path,
    texts: Mapping[str, str],
    tensors: Mapping[str, Mapping[str, Any]],
    save: Callable[[Path], None] | None = None,
) -> None:
    """Replace a folder as a whole: `texts` by file name, safetensors files by name, and what `save` adds.

    Raises:
        StorageError: nothing was changed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with storage(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
        try:
            for name, text in texts.items():
                (part / name).write_text(text, "utf-8")
            for name, values in tensors.items():
                save_file(dict(values), part / name)
            if save is not None:
                save(part)
            for file in part.rglob("*"):
                _sync(file)
            _replace_folder(part, folder)
        except SafetensorError as error:  # its own wrapping of a failed write
            raise OSError(errno.ENOSPC if "No space" in str(error) else errno.EIO, str(error)) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _replace_folder(part: Path, folder: Path) -> None:
    """Rename into place; between the two renames `recover_folder` finds the old one under its second name."""
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(part, folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Finish a replacement that a kill interrupted: the old folder comes back if the new one never arrived."""
    old = folder.with_name(f".old-{folder.name}")
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """A JSON file of a run folder.

    Raises:
        RunFolderError: missing or damaged.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: missing; the run did not get this far. Finish it with `--resume`") from error
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{path}: damaged ({error})") from error
