"""What is trained on: five kinds of rows and their mix, as one prepared run that every contestant reads."""

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from benchmarks.finance8 import rewritten
from multitune.config.load import load_config
from multitune.core.records import Segments
from multitune.training.prepare import PreparedRun, prepare_run

CONFIG = Path(__file__).parent / "speed.yaml"
LOCAL = {
    "tweets": "tfns/train.jsonl",
    "intents": "banking77/train.jsonl",
    "word_problems": "gsm8k/train.jsonl",
    "long_tables": "tatqa/dev.jsonl",
    "conversations": "convfinqa/dev_turns.jsonl",
}
REWRITTEN = {"long_tables": "tatqa", "conversations": "convfinqa"}
WORKLOADS = (*LOCAL, "mix")


@cache
def prepared(workload: str, steps: int) -> PreparedRun:
    """The run of one workload: its task, or all five for `mix`.

    Rows come from the hub, or from the folder that the environment's DATA names.
    """
    overrides = [f"train.max_steps={steps}", f"output={Path(gettempdir(), 'multitune-speed')}", *_sources()]
    config = load_config(CONFIG, [*overrides, f"tasks.intents.prompt={json.dumps(_with_labels())}"])
    names = tuple(LOCAL) if workload == "mix" else (workload,)
    return prepare_run(config.model_copy(update={"tasks": tuple(t for t in config.tasks if t.name in names)}))


def batches(workload: str, steps: int) -> list[Sequence[Segments]]:
    """The rows of every step, in the order that all contestants train on them."""
    run = prepared(workload, steps)
    stream = run.plans[0].stream
    return [[run.tasks[d.task].tokens["train"][d.index] for d in stream.draw(step)] for step in range(steps)]


def _sources() -> list[str]:
    data = os.environ.get("DATA")
    if not data:
        return []
    folder = Path(gettempdir())
    files = {task: Path(data, file) for task, file in LOCAL.items()}
    files |= {task: rewritten(name, files[task], folder) for task, name in REWRITTEN.items()}
    return [f"tasks.{task}.data={json.dumps(str(file))}" for task, file in files.items()]


def _with_labels() -> str:
    """The prompt of `intents` with all 77 labels written out, as the prototypes had it."""
    labels = (Path(__file__).parent / "intents.txt").read_text("utf-8").split("\n")
    listed = ", ".join(label for label in labels if label)
    question = "Which of these intents has the message to a bank? Answer with one of them."
    return f"{question}\n{listed}\n\nMessage: {{{{ text }}}}"
