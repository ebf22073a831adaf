"""A search on disk: Optuna's study in a journal that survives a kill, for one process and one search at a time."""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multitune.config.text import read_text
from multitune.core.errors import RunFolderError, StorageError
from multitune.core.extras import missing_extra
from multitune.core.files import storage, write_text
from multitune.core.run_folder import TuneFolder
from multitune.core.seals import sealed, sealed_yaml, unsealed, unsealed_yaml
from multitune.core.seeds import generator
from multitune.core.untrusted import open_regular

if TYPE_CHECKING:
    from optuna import Study

STUDY = "tune"  # the name of the one study in a journal
REMEDY = "Put it back, or start over with --overwrite"
UNPRUNED = 3  # trials that run to their end before any is cut short
RANDOM = 4  # trials before the sampler draws conclusions


def require_optuna() -> None:
    """Raise unless Optuna is installed, and keep it quiet: what matters is in our own events.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import optuna
    except ImportError as error:
        raise missing_extra("tune", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def sampler(seed: int, number: int, field: str) -> Any:
    """A sampler whose proposal depends on the seed, the trial's number, the setting and the trials before it alone."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(generator(seed, "tune", number, field).integers(2**31)), n_startup_trials=RANDOM)


def open_study(folder: TuneFolder, objective: Literal["loss", "metric"], first: Mapping[str, float]) -> "Study":
    """The study in a folder's journal; a new one begins with the values `first`.

    Raises:
        RunFolderError: the journal is damaged.
        StorageError: it cannot be written, now or whenever the study notes something.
    """
    import optuna
    from optuna.storages import JournalStorage

    try:
        _clean_up(folder)
        study = optuna.create_study(
            storage=JournalStorage(_backend(folder.journal)),
            study_name=STUDY,
            direction="minimize" if objective == "loss" else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_min_trials=UNPRUNED),
            load_if_exists=True,
        )
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # of lines that are no log of Optuna's
        raise RunFolderError(f"{folder.journal}: damaged ({error}). {REMEDY}") from error
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(first))
    return study


class _NoLock:
    """In place of Optuna's own lock, which answers a full disk with errors of its own: ours keeps others out."""

    def acquire(self) -> bool:
        """Nothing to wait for."""
        return True

    def release(self) -> None:
        """Nothing to give back."""


def _backend(journal: Path) -> Any:
    """Optuna's journal in a file, whose lines are sealed, and in which a full disk is an error of ours."""
    from optuna.storages.journal import JournalFileBackend

    class Backend(JournalFileBackend):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            with storage(journal):
                super().append_logs([sealed(log) for log in logs])

        def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
            for log in super().read_logs(log_number_from):
                yield unsealed(log)

    lock: Any = _NoLock()
    with storage(journal):
        return Backend(str(journal), lock)


def _clean_up(folder: TuneFolder) -> None:
    """Remove what a process that was killed may leave: the lock of older versions, and half of a last line."""
    folder.journal.with_name(f"{folder.journal.name}.lock").unlink(missing_ok=True)
    try:
        with open_regular(folder.journal) as file:
            whole = file.read().rfind(b"\n") + 1
    except FileNotFoundError:
        return
    with storage(folder.journal), folder.journal.open("r+b") as file:
        file.truncate(whole)


def importance(study: "Study") -> dict[str, float] | None:
    """How much of the variance of the objective each setting explains, by fANOVA; None where there is none."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = {trial.value for trial in study.trials if trial.state.name == "COMPLETE"}
    if len(values) < 2:
        return None
    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)))


def require_same(folder: TuneFolder, asked: str) -> None:
    """Note in a new folder what is searched; see in an old one that it is the same.

    Raises:
        RunFolderError: it is another search.
    """
    if not folder.config.is_file():
        write_text(folder.config, sealed_yaml(asked))
        return
    try:
        same = unsealed_yaml(read_text(folder.config)) == asked
    except ValueError as error:
        raise RunFolderError(f"{folder.config}: {error}. {REMEDY}") from error
    if not same:
        raise RunFolderError(
            f"{folder.path}: holds a search of other settings, ranges or rows. Undo the change, start over with "
            "--overwrite, or change `name`"
        )
