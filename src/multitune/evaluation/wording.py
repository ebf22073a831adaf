"""How a figure is said in a sentence; light, since tables are shown before anything heavy is loaded."""

from collections.abc import Mapping
from typing import Any


def points_text(summary: Mapping[str, Any]) -> str:
    """Mean points of a transfer summary as it is kept, with their interval where the version that kept it knew one."""
    mean = f"{summary['mean_points']:+.1f} points"
    if summary.get("points_low") is None:
        return mean
    return f"{mean} [{summary['points_low']:+.1f}, {summary['points_high']:+.1f}]"
