"""Files and folders that are written whole or not at all, and JSON that is read with a clear error."""

import errno
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multitune.core.errors import RunFolderError, StorageError

_log = logging.getLogger(__name__)


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


@contextmanager
def new_file(path: Path) -> Generator[Path]:
    """Where to write what replaces a file as a whole: a reader sees the old content or the new, never a part."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        os.close(handle)
        part = Path(name)
        try:
            yield part
            _sync(part)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole."""
    with new_file(path) as part:
        part.write_text(text, "utf-8")


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
            _log.warning("%s: recovered as it was before a write that was killed", folder)


def _sync(path: Path) -> None:
    if os.name == "nt":  # Windows opens no folder, and syncs nothing that is open for reading alone
        return
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
