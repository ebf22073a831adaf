"""The face: all that a user needs, each name loaded when it is first asked for."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multitune.config.load import load_config
    from multitune.config.schema import RunConfig
    from multitune.core.errors import MultituneError
    from multitune.functions import (
        add,
        check,
        compare,
        compare_predictions,
        evaluate,
        gate,
        run_audit,
        run_study,
        select,
        train,
        tune,
    )
    from multitune.model.bank import AdapterBank
    from multitune.run import Run, open_run
    from multitune.tasks.task import Task
    from multitune.training.mixture_sampler import MixtureSampler

__all__ = [
    "AdapterBank",
    "MixtureSampler",
    "MultituneError",
    "Run",
    "RunConfig",
    "Task",
    "add",
    "check",
    "compare",
    "compare_predictions",
    "evaluate",
    "gate",
    "load_config",
    "open_run",
    "run_audit",
    "run_study",
    "select",
    "train",
    "tune",
]
__version__ = "0.1.0"

# A library prints nothing of its own: whoever wants its log sets a handler, as `multitune --verbose` does.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# The module of each name; all that are not listed are in multitune.functions.
_HOMES = {
    "AdapterBank": "multitune.model.bank",
    "MixtureSampler": "multitune.training.mixture_sampler",
    "MultituneError": "multitune.core.errors",
    "Run": "multitune.run",
    "RunConfig": "multitune.config.schema",
    "Task": "multitune.tasks.task",
    "load_config": "multitune.config.load",
    "open_run": "multitune.run",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "multitune.functions")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
