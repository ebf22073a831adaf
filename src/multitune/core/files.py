"""Files and folders written whole or not at all, copied and deleted under guard, and JSON read with a clear error."""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multitune.core.errors import RunFolderError, StorageError
from multitune.core.limits import limit_met
from multitune.core.seals import parse_line, save_tensors, sealed, unsealed
from multitune.core.untrusted import load_json, open_regular

_log = logging.getLogger(__name__)

PART, OLD = ".part-", ".old-"  # how the names of what is being written, and of what it replaces, begin


@contextmanager
def storage(path: Path) -> Generator[None]:
    """Turn a full or read-only disk, or another limit of the system, into one clear error about `path`."""
    try:
        yield
    except OSError as error:
        reason = limit_met(error) or f"{error.strerror or error}. Free some space or choose another `output`"
        raise StorageError(f"{path}: could not be written: {reason}; what was saved before is intact") from error


@contextmanager
def new_file(path: Path) -> Generator[Path]:
    """Where to write what replaces a file as a whole: a reader sees the old content or the new, never a part."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_part_prefix())
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


def json_text(value: Mapping[str, Any]) -> str:
    """An object as the sealed text of a file."""
    return json.dumps(sealed(value), indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole by a sealed object."""
    write_text(path, json_text(value))


def write_folder(
    folder: Path,
    texts: Mapping[str, str],
    tensors: Mapping[str, Mapping[str, Any]],
    save: Callable[[Path], None] | None = None,
    keep: Path | None = None,
) -> None:
    """Replace a folder as a whole: `texts` by file name, safetensors files by name, and what `save` adds.

    Args:
        folder: to write.
        texts: by file name.
        tensors: of each safetensors file.
        save: is given the folder to add to.
        keep: where the folder that was there before goes, instead of being deleted.

    Raises:
        StorageError: nothing was changed.
    """
    from safetensors import SafetensorError

    with storage(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_part_prefix()))
        try:
            for name, text in texts.items():
                (part / name).write_text(text, "utf-8")
            for name, values in tensors.items():
                save_tensors(values, part / name)
            if save is not None:
                save(part)
            for file in part.rglob("*"):
                _sync(file)
            _sync(part)
            _replace_folder(part, folder, keep)
        except SafetensorError as error:  # its own wrapping of a failed write
            raise OSError(errno.ENOSPC if "No space" in str(error) else errno.EIO, str(error)) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _replace_folder(part: Path, folder: Path, keep: Path | None) -> None:
    """Rename into place; between the two renames `recover_folder` finds the old one under its second name."""
    old = keep or _old(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
    os.rename(part, folder)
    _sync(folder.parent)
    if keep is None:
        shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Finish a replacement that a kill interrupted: the old folder comes back if the new one never arrived."""
    old = _old(folder)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, folder)
            _log.warning("%s: recovered as it was before a write that was killed", folder)


def recover_tree(folder: Path) -> None:
    """Do so for every folder below one, and delete the parts of writes whose process is gone."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            if name.startswith(OLD):
                recover_folder(path.with_name(name.removeprefix(OLD)))
            elif name.startswith(PART) and not _is_being_written(name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        folders[:] = [name for name in folders if not name.startswith((PART, OLD))]


def _old(folder: Path) -> Path:
    return folder.with_name(f"{OLD}{folder.name}")


def _part_prefix() -> str:
    return f"{PART}{os.getpid()}-"


def _is_being_written(name: str) -> bool:
    """Whether the process that a part is named after still runs."""
    writer = name.removeprefix(PART).partition("-")[0]
    if not writer.isdecimal():
        return False
    if os.name == "nt":  # there, to ask for a process is to end it
        return True
    try:
        os.kill(int(writer), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def delete_folder(path: Path, inside: Path) -> None:
    """Delete a folder and all in it, if it is there. Of a link, the link alone goes.

    Raises:
        RunFolderError: it does not lie below `inside`; nothing was deleted.
        StorageError: it cannot be deleted.
    """
    place = path.parent.resolve() / path.name
    if not place.is_relative_to(inside.resolve()) or place == inside.resolve():
        raise RunFolderError(
            f"{path}: does not lie in {inside}, and was not deleted. Delete it by hand if you mean it"
        )
    with storage(path):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with all in it to another, which may be there already.

    Raises:
        RunFolderError: it is or holds a link or a device, which would bring along what lies elsewhere.
    """
    for path in (source, *source.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise RunFolderError(f"{path}: is a link or no regular file, and is not copied. Put the file itself there")
    shutil.copytree(source, target, dirs_exist_ok=True)


def files_digest(files: Iterable[Path]) -> str:
    """SHA-256 hex over the names and contents of files, in the order of their names.

    Raises:
        OSError: one is not there or cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        with open_regular(path) as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """`files_digest` of all files in a folder, which are never none.

    Raises:
        OSError: it is not there, cannot be read, or is empty.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise FileNotFoundError(errno.ENOENT, "no files in it", str(folder))
    return files_digest(files)


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
        RunFolderError: missing, damaged, or changed since it was written.
    """
    try:
        return unsealed(load_json(path))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: missing; the run did not get this far. Finish it with `--resume`") from error
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{path}: damaged ({error})") from error


def json_lines(path: Path) -> Iterator[Mapping[str, Any] | None]:
    """The objects of a file of JSON lines, None for a line that is damaged; nothing where the file is missing."""
    try:
        with open_regular(path) as file:
            for line in file:
                try:
                    value = parse_line(line)
                except ValueError:
                    value = None
                yield value if isinstance(value, dict) else None
    except OSError:
        return
