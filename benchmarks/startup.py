"""Start-up: `--help`, `check` on 100,000 rows without and with its cache, and the memory of data that does not fit.

`make bench PART=startup`: the rows are the demo's intents, repeated with a number in front so that none is a copy.
LARGE=5000000 says how many rows the large file holds (a quarter of an hour; 0 leaves it out).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import yaml

from benchmarks.record import record
from multitune.core.bases import resolve_base
from multitune.model.gguf import dequantized_folder

DATA = Path(__file__).parent.parent / "examples" / "finance" / "data"
COMMAND = "make bench PART=startup"
LARGE = int(os.environ.get("LARGE", "5000000"))
WRAPPED = """
import resource, sys
from multitune.cli.main import run
sys.argv[0] = "multitune"
try:
    run()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, file=sys.stderr)
"""


def main() -> None:
    """Measure, print and record."""
    figures: dict[str, Any] = {"help_seconds": [multitune("--help")["seconds"] for _ in range(3)]}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MULTITUNE_CACHE"] = str(Path(folder, "cache"))
        dequantized_folder(resolve_base("smollm2-135m", Path.cwd()))  # as any training does once
        figures["check_100_rows"] = multitune("check", str(run_file(Path(folder), 100)))
        file = run_file(Path(folder), 100_000)
        figures["check_100000_rows"] = multitune("check", str(file))
        figures["check_100000_rows_again"] = multitune("check", str(file))
        for rows in (LARGE // 10, LARGE) if LARGE else ():
            figures[f"check_{rows}_rows"] = multitune("check", str(file := run_file(Path(folder), rows)))
            figures[f"check_{rows}_rows_of_parquet"] = multitune("check", str(file), "--set", as_parquet(file))
    print(json.dumps(figures, indent=2))
    record("startup", COMMAND, figures)


def multitune(*arguments: str) -> dict[str, float]:
    """Seconds and peak memory of one command in a process of its own."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", WRAPPED, *arguments], capture_output=True, text=True, check=True)
    peak = float(done.stderr.rsplit("peak ", 1)[1])
    return {"seconds": round(time.monotonic() - started, 2), "peak_memory_gb": round(peak, 3)}


def run_file(folder: Path, rows: int) -> Path:
    """A run file over one task of `rows` different rows."""
    data = folder / f"rows_{rows}.jsonl"
    with (
        (DATA / "intents" / "train.jsonl").open(encoding="utf-8") as source,
        data.open("w", encoding="utf-8") as target,
    ):
        known = [json.loads(line) for line in source]
        numbered = ({**known[n % len(known)], "text": f"{n}: {known[n % len(known)]['text']}"} for n in range(rows))
        while part := list(islice(numbered, 10_000)):
            target.writelines(json.dumps(row) + "\n" for row in part)
    task = {"kind": "classify", "prompt": "Which intent?\n\n{{ text }}", "answer": "{{ category }}", "data": str(data)}
    file = folder / f"rows_{rows}.yaml"
    file.write_text(yaml.safe_dump({"name": "rows", "tasks": [{"name": "intents", **task}]}), "utf-8")
    return file


def as_parquet(file: Path) -> str:
    """The rows of a run file as Parquet, and the setting that names them."""
    parquet = file.with_suffix(".parquet")
    datasets.Dataset.from_json(str(file.with_suffix(".jsonl")), cache_dir=str(file.parent)).to_parquet(parquet)
    return f"tasks.intents.data={parquet}"


if __name__ == "__main__":
    main()
