"""Ten tasks, every kind of adapter, and the router: base, alone, shared, residual, group, routed and oracle per task.

`make bench PART=mixture10 DATA=folder`. RUNS=folder keeps the run there; a run that is there is not trained again.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.finance8 import local_sources
from benchmarks.record import record
from multitune.cli.show import show_routing
from multitune.cli.watch import Watch
from multitune.config.load import load_config
from multitune.core.files import read_json
from multitune.core.routing_versions import read_version
from multitune.core.run_folder import RunFolder
from multitune.pipeline import run_experiment, select_folder

CONFIG = Path(__file__).parent / "mixture10.yaml"
COMMAND = "make bench PART=mixture10 DATA=folder"
SHORT = ("tasks.gsm8k.max_new_tokens=160",)  # answers that ramble on need not be waited for on validation
GROUPS = ("sentiment", "numbers", "intents")


def main() -> None:
    """Train unless it is done, select, and record."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.environ.get("RUNS", folder)
        sources = local_sources(CONFIG, Path(os.environ["DATA"]), Path(output)) if "DATA" in os.environ else []
        run = RunFolder(Path(output) / "mixture10")
        with Watch(Console()) as watch:
            if run.scores.is_file():
                found = select_folder(run.path, watch, SHORT)
            else:
                run_experiment(load_config(CONFIG, [f"output={output}", *sources]), observe=watch)
                found = read_version(run)
        if not found:
            raise SystemExit(f"{run.path}: no routing version")
        show_routing(found, run.path, Console(width=140))
        record("mixture10", COMMAND, figures(read_json(run.scores), found.plain()))


def figures(scores: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """One row per task, and what routing and replay did."""
    rows: dict[str, Any] = {}
    for task, row in found["report"]["tasks"].items():
        by = row["scores"]
        group = next((name for name in GROUPS if name in by), None)
        rows[task] = {
            "metric": row["metric"],
            "n": row["examples"],
            **{name: by[name] for name in ("base", "shared", "oracle", "routed", "routed_body")},
            "alone": by[task],
            "residual": by[f"{task}.residual"],
            "group": by[group] if group else None,
            "ships_with": found["table"]["tasks"][task]["adapter"],
            "why": found["table"]["tasks"][task]["why"],
            "routed_minus_oracle": row["routed"],
            "routed_by_body_minus_oracle": row["routed_body"],
        }
    report = {key: value for key, value in found["report"].items() if key != "tasks"}
    return {
        "tasks": rows,
        "transfer": scores["transfer"],
        "general": scores["general"],
        "cost": found["table"]["cost"],
        "router": report,
    }


if __name__ == "__main__":
    main()
