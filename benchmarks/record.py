"""Write one measurement down, with the machine, the versions and the date it was made on; and ratios in short."""

import json
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from multitune.core.versions import versions

RESULTS = Path(__file__).parent / "results"


def record(name: str, command: str, figures: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json and return its path."""
    path = RESULTS / f"{name}.json"
    entry = {"command": command, "date": date.today().isoformat(), **versions().plain(), "figures": figures}
    path.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"recorded in {path}")
    return path


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """The median of some ratios, with the quartiles or, of few, the extremes."""
    few = len(ratios) < 8
    low, _, high = (min(ratios), 0.0, max(ratios)) if few else statistics.quantiles(ratios, n=4)
    return {"median": round(statistics.median(ratios), 4), "low": round(low, 4), "high": round(high, 4)}
