"""Write one measurement down, with the machine, the versions and the date it was made on."""

import json
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
