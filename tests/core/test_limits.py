"""What a limit of the system causes is told as that limit, however deep it lies in the error that reaches the user."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from multitune.core.errors import RunFolderError, StorageError
from multitune.core.files import new_file
from multitune.core.limits import limit_met


def caused(inner: BaseException) -> BaseException:
    """An error of ours that came from another, as most do."""
    try:
        try:
            raise inner
        except BaseException as error:
            raise RunFolderError("checkpoint: damaged") from error
    except RunFolderError as error:
        return error


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (ValueError("Error: Too many open files (os error 24)"), "too many open files"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "out of memory"),
        (RuntimeError("can't start new thread"), "ran out of memory"),
        (ImportError("_csv.so: failed to map segment from shared object"), "ran out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    ],
)
def test_a_limit_is_named_with_its_remedy(inner: BaseException, says: str) -> None:
    for error in (inner, caused(inner)):
        found = limit_met(error)
        assert found is not None and says in found and any(word in found for word in ("Raise", "Use", "Free"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a number of bytes"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        caused(MemoryError()),  # of Python's parser, for brackets: whoever caught it knew
        OSError(errno.EFBIG, "it has more than 8 bytes"),  # a bound of ours, where the system sets none
    ],
)
def test_other_errors_are_no_limit(error: BaseException) -> None:
    assert limit_met(error) is None


SMALL = """
import resource, sys
from pathlib import Path
from multitune.core.files import write_text
from multitune.core.errors import StorageError
resource.setrlimit(resource.{limit}, ({value}, {value}))
try:
    write_text(Path(sys.argv[1]), "x" * 100_000)
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [
        ("RLIMIT_FSIZE", 1000, "a file grew too large (this process may have 1,000 bytes)"),
        ("RLIMIT_NOFILE", 3, "too many open files (this process may have 3 files)"),
    ],
)
def test_a_write_under_a_limit_names_it_and_leaves_what_was_there(
    limit: str, value: int, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "scores.json"
    file.write_text("{}")
    code = SMALL.format(limit=limit, value=value)
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert says in done.stdout and str(file) in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"] and file.read_text() == "{}"


def test_a_read_only_folder_is_no_limit(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="Permission denied"),
        new_file(tmp_path / "a.json"),
    ):
        raise OSError(errno.EACCES, "Permission denied")
