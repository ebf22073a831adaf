"""What to do where a batch does not fit into memory: half of it may."""

from collections.abc import Sequence

import numpy as np
import torch

from multitune.core.errors import MultituneError


def ran_out_of_memory(error: Exception) -> bool:
    """Whether that is what an error says."""
    # On the CPU torch raises a plain RuntimeError that says so.
    message = str(error).lower()
    ran_out = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return ran_out or "allocate memory" in message or "not enough memory" in message


def halved(error: Exception, adapter: str, prompts: Sequence[np.ndarray]) -> int:
    """The next size to try, if a batch of these prompts ran out of memory; else the error goes on.

    Raises:
        MultituneError: not even one prompt fits.
    """
    if not ran_out_of_memory(error):
        raise error
    if len(prompts) > 1:
        return len(prompts) // 2
    raise MultituneError(
        f"adapter {adapter!r}: a prompt of {len(prompts[0])} tokens does not fit into memory. "
        "Lower train.max_length, or use device: cpu"
    ) from error
