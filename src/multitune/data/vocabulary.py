"""How much two sets of texts have in common: the shared mass of what they are made of."""

from collections.abc import Sequence

import numpy as np


def shared_mass(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Shared mass of every two distributions, float64 (set, set), 0 to 1.

    1 minus the total variation distance: the probability that both distributions give to the same word or token.

    Args:
        counts: of each set, (word,), how often each word or token stands in it.
    """
    shares = [count / count.sum() for count in counts]
    return np.array([[float(np.minimum(a, b).sum()) for b in shares] for a in shares])
