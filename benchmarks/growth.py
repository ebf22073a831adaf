"""Growth: what preparing a set costs in seconds and memory as its rows become more, the first time and from the cache.

`make bench PART=growth`: the rows are the demo's intents, repeated with a number in front so that none is a copy.
ROWS=1000000 says how many rows the largest set has; one of a tenth of these comes before it.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.record import record
from benchmarks.startup import run_file
from multitune.config.load import load_config
from multitune.core.bases import resolve_base
from multitune.data.summary import summarise
from multitune.data.tokenizer import load_tokenizer
from multitune.training.prepare import prepare_run

ROWS = int(os.environ.get("ROWS", "1000000"))
COMMAND = f"make bench PART=growth ROWS={ROWS}"
EVERY = 0.2  # seconds between looks at the memory
PROMPT = "Which intent?\n\n{}"
TOKENIZED = 20_000  # rows of which the tokenizer's own rate is taken


def main() -> None:
    """Measure, print and record; with a run file as argument, measure that one in this process."""
    if len(sys.argv) > 1 and sys.argv[1].endswith(".yaml"):
        print(json.dumps(measured(Path(sys.argv[1]))))
        return
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in (ROWS // 10, ROWS):
            os.environ["MULTITUNE_CACHE"] = str(Path(folder, f"cache_{rows}"))
            file = run_file(Path(folder), rows)
            figures[f"{rows}_rows"] = apart(file)
            figures[f"{rows}_rows_again"] = apart(file)
            print(json.dumps(figures, indent=2), flush=True)
    record("growth", COMMAND, figures)


def apart(file: Path) -> dict[str, Any]:
    """`measured` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measured(file: Path) -> dict[str, Any]:
    """Seconds of each stage, and the memory that is no page of a file, at its most in each tenth of the tokenising."""
    looks: list[tuple[float, float]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(EVERY):
            looks.append((time.monotonic(), anonymous_gb()))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    marks: list[tuple[float, float, int]] = []
    started, processor = time.monotonic(), time.process_time()
    run = prepare_run(
        load_config(file), lambda name, done, rows: marks.append((time.monotonic(), time.process_time(), done))
    )
    prepared, spent = time.monotonic(), time.process_time()
    (item,) = run.tasks.values()
    summarise(item, run.chat)
    summarised = time.monotonic()
    ended.set()
    watcher.join()
    rows = sum(map(len, item.tokens.values()))
    alone = tokenizer_rate()
    first, read = next((at, spent) for at, spent, done in marks if done)
    return {
        "rows": rows,
        "read_seconds": round(first - started, 2),
        "tokenise_seconds": round(prepared - first, 2),
        "rows_per_second": round(rows / (prepared - started)),
        "processor_seconds": {"read": round(read - processor, 2), "tokenise": round(spent - read, 2)},
        "rows_per_processor_second": round(rows / (spent - processor)),
        "tokenizer_rows_per_processor_second": alone,
        "share_of_the_tokenizers_rate": round(rows / (spent - processor) / alone, 2),
        "check_seconds": round(summarised - prepared, 2),
        "memory_gb_while_reading": most(looks, started, first),
        "memory_gb_by_tenth": [
            most(looks, first + tenth * (prepared - first) / 10, first + (tenth + 1) * (prepared - first) / 10)
            for tenth in range(10)
        ],
        "memory_gb_of_check": most(looks, prepared, summarised),
    }


def most(looks: list[tuple[float, float]], start: float, end: float) -> float | None:
    """The most memory between two moments; None where nobody looked."""
    return max((round(gb, 3) for at, gb in looks if start <= at <= end), default=None)


def anonymous_gb() -> float:
    """Memory of this process that no file stands behind, in GB: what the system cannot take back."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("RssAnon:")[2].split()[0]) / 2**20


def tokenizer_rate() -> int:
    """Rows a processor second that the tokenizer alone reads, in the base's chat format as in the run.

    Taken in the process that prepared the rows, right behind it: a busy machine slows both.
    """
    tokenizer: Any = load_tokenizer(resolve_base("smollm2-135m", Path.cwd()))
    chat: Any = tokenizer.apply_chat_template
    with tempfile.TemporaryDirectory() as folder:
        data = run_file(Path(folder), TOKENIZED).with_suffix(".jsonl")
        asked = [PROMPT.format(json.loads(line)["text"]) for line in data.open(encoding="utf-8")]
        texts = chat([[{"role": "user", "content": text}] for text in asked], tokenize=False)
    started = time.process_time()
    for place in range(0, len(texts), 1000):
        tokenizer.backend_tokenizer.encode_batch_fast(texts[place : place + 1000], add_special_tokens=False)
    return round(len(texts) / (time.process_time() - started))


if __name__ == "__main__":
    main()
