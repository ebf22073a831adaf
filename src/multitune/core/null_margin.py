"""How far ahead of another the best of several looks by chance alone: the margin that a real lead must exceed."""

import numpy as np

# Chance that any lead exceeds its margin, where all candidates are as good as the one they are compared with.
ALPHA = 0.05


def null_margins(resampled: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """The lead of each candidate that chance explains, if all are as good as the one they are compared with.

    Args:
        resampled: leads on resamples of the same rows, float64 (candidate, resample).
        leads: on all rows, float64 (candidate,).

    Source: the largest studentised difference under the bootstrap, as in White 2000 (a reality check for data
    snooping) and Westfall & Young 1993.
    """
    noise = resampled.std(1)
    moving = noise > 0.0
    if not moving.any():
        return np.zeros(len(leads))
    largest = ((resampled[moving] - leads[moving, None]) / noise[moving, None]).max(0)  # (resample,)
    return float(np.quantile(np.maximum(0.0, largest), 1.0 - ALPHA)) * noise
