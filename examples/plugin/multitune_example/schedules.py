"""`small_first`: small tasks lead at the start of a run, and all are even at its end."""

from collections.abc import Mapping

from multitune.config.schema import MixtureConfig
from multitune.mixture.weights import Losses


def small_first(
    sizes: Mapping[str, float], progress: float, losses: Losses, mixture: MixtureConfig
) -> dict[str, float]:
    """p_i ∝ N_i ** (progress − 1): inversely by size at first. multitune scales the shares to one."""
    return {name: size ** (progress - 1.0) for name, size in sizes.items()}
