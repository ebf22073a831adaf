"""Which of a run's processes this one is, as torchrun and `accelerate launch` say in the environment."""

import os

from multitune.core.errors import RankError

LIMIT = "MULTITUNE_RANK_TIMEOUT"
HOW = "torchrun and `accelerate launch` set what processes need to know; docs/many-processes.md says more"


def world_size() -> int:
    """How many processes train this run together; 1 where nobody says otherwise.

    Raises:
        RankError: the environment says something else than a number.
    """
    return max(1, _number("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


def rank() -> int:
    """The number of this process; 0 leads: it alone writes, prints and logs.

    Raises:
        RankError: the environment says something else than a number below the number of processes.
    """
    number, size = _number("RANK", 0), world_size()
    if size > 1 and not 0 <= number < size:
        raise RankError(f"RANK is {number}, but there are {size} processes (WORLD_SIZE), numbered from 0. {HOW}")
    return number if size > 1 else 0


def local_rank() -> int:
    """The number of this process among those of its machine, which is the number of its GPU.

    Raises:
        RankError: the environment says something else than a number.
    """
    return _number("LOCAL_RANK", rank())


def time_limit() -> int:
    """Seconds that ranks wait for each other, before one counts as lost.

    Raises:
        RankError: the environment says something else than a number.
    """
    return _number(LIMIT, 600)


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    try:
        return int(text)
    except ValueError as error:
        raise RankError(f"the environment variable {name} is {text!r}, not a whole number. {HOW}") from error
