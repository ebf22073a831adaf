"""Every error multitune raises, in one tree; each message names the place, the value and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class MultituneError(Exception):
    """Root of the tree. `exit_code` is what the command line returns for it.

    >>> try:
    ...     multitune.load_config("run.yaml", ["mixture.schedule=aneal"])
    ... except multitune.MultituneError as error:
    ...     print(str(error).partition("All:")[0])
    run.yaml: mixture.schedule is 'aneal'. Did you mean 'anneal'?
    """

    exit_code = 1


class InputError(MultituneError):
    """What the user gave us is wrong; nothing was changed on disk."""

    exit_code = 2


class ConfigError(InputError, ValueError):
    """The run file says something that cannot be done."""


class TaskError(InputError, ValueError):
    """A task's template, labels or answers do not fit its rows."""


class DataError(InputError, ValueError):
    """Rows cannot be read or are not what the task needs."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A data file, folder or hub set does not exist."""


class MissingExtraError(InputError, ImportError):
    """An optional package is needed; the message holds the pip command."""


class PluginError(InputError, ImportError):
    """A metric, schedule, router or auditor of another package is broken; the message names the package."""


class MixtureError(InputError, ValueError):
    """A mixture has an empty task, or shares that cannot hold."""


class ModelError(InputError, ValueError):
    """The base cannot be loaded, or is not a causal language model."""


class RouterError(InputError, ValueError):
    """A router or its table is damaged, made for other features, or asked for what it does not know."""


class AdapterError(InputError, ValueError):
    """An adapter folder is damaged, unsafe, or made for another base."""


class VerificationError(InputError, ValueError):
    """What left a run does not answer as the run's record says, or cannot be asked."""


class RunFolderError(InputError, ValueError):
    """A run folder is missing a part, is damaged, or holds another run."""


class RefusedError(InputError, ValueError):
    """A model's server refuses what was asked: a wrong key, an unknown model, a request it cannot take."""


class BudgetError(InputError, ValueError):
    """The stated cap on tokens or cost is reached; answers that were paid for are kept."""


class RankError(InputError, ValueError):
    """The processes of a run cannot find each other, or disagree on what to train; nothing was changed on disk."""


class AuditError(MultituneError, ValueError):
    """The data has faults that `audit: strict` does not let pass; nothing was trained."""


class ServerError(MultituneError, ConnectionError):
    """A model's server cannot be reached, is overloaded, or answers nonsense; finished answers are kept."""


class TrainingError(MultituneError, RuntimeError):
    """Training cannot go on; what was saved before stays intact."""


class Interrupted(MultituneError):
    """The user stopped the run; everything is saved, and the message says how to go on."""

    exit_code = 130


class StorageError(MultituneError, OSError):
    """The disk is full or not writable; the last complete checkpoint stays intact."""


def suggest(name: object, allowed: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the shortest one that it begins, or else the nearest, then all."""
    names = list(allowed)
    begun = sorted((one for one in names if name and one.startswith(str(name))), key=len)
    near = begun[:1] or get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}All: {', '.join(names)}"
