"""The face: the few names a user needs, each loaded when it is first asked for."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multitune.config.load import load_config
    from multitune.config.schema import RunConfig
    from multitune.core.errors import MultituneError
    from multitune.model.bank import AdapterBank
    from multitune.pipeline import evaluate_folder as evaluate
    from multitune.pipeline import run_experiment as train
    from multitune.tasks.task import Task

__all__ = ["AdapterBank", "MultituneError", "RunConfig", "Task", "evaluate", "load_config", "train"]
__version__ = "0.1.0"

# A library prints nothing of its own: whoever wants its log sets a handler, as `multitune --verbose` does.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# name -> (module, its name there)
_HOMES = {
    "AdapterBank": ("multitune.model.bank", "AdapterBank"),
    "MultituneError": ("multitune.core.errors", "MultituneError"),
    "RunConfig": ("multitune.config.schema", "RunConfig"),
    "Task": ("multitune.tasks.task", "Task"),
    "evaluate": ("multitune.pipeline", "evaluate_folder"),
    "load_config": ("multitune.config.load", "load_config"),
    "train": ("multitune.pipeline", "run_experiment"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
