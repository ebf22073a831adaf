"""The report of a check, kept: as long as run file, data and program are the same, it is told again at once."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from multitune.config.load import dump_config
from multitune.config.schema import RunConfig
from multitune.core.bases import resolve_base
from multitune.core.errors import RunFolderError, StorageError
from multitune.core.paths import cache_folder, file_key
from multitune.core.results.run import CheckReport
from multitune.core.versions import versions
from multitune.data.sources import source_files

_log = logging.getLogger(__name__)


def recalled(config: RunConfig, make: Callable[[], CheckReport]) -> CheckReport:
    """The report that `make` makes, or made before under the same circumstances.

    Sets from the hub or a database may change without a trace on this machine: with one of them nothing is kept.
    """
    files = _files(config)
    if files is None:
        return make()
    kept = cache_folder() / "checks" / f"{_key(config, files)}.json"
    with suppress(RunFolderError):  # none yet, or damaged
        report = CheckReport.read(kept)
        _log.info("run file, data and program are as they were: the report is that of %s", kept)
        return report
    report = make()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        report.write(kept)
    except (OSError, StorageError) as error:  # costs the next check some seconds, not this one
        _log.warning("the report was not kept for the next check: %s", error)
    return report


def _files(config: RunConfig) -> Sequence[Path] | None:
    """Every file that the report depends on; None where it depends on more than files."""
    files: list[Path] = []
    for task in (*config.tasks, *config.general, *config.retention):
        found = source_files(task.data, f"task {task.name!r}")
        if found is None:
            return None
        files += [path for paths in found.values() for path in paths]
    ref = resolve_base(config.base, Path.cwd())
    folder = Path(ref.location)
    return [*files, *([folder / ref.gguf] if ref.gguf else sorted(folder.glob("*.json")))]


def _key(config: RunConfig, files: Sequence[Path]) -> str:
    facts = [dump_config(config), versions().model_dump_json(), *(f"{path} {file_key(path)}" for path in files)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
