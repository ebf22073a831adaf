"""The rows of the benchmarks: five kinds and their mix, as one prepared run that every trainer reads."""

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from benchmarks.finance8 import rewritten
from multitune.config.load import load_config
from multitune.core.records import Segments
from multitune.core.seeds import generator
from multitune.training.prepare import PreparedRun, prepare_run

TEAM = Path(__file__).parents[2] / "examples" / "team" / "team.yaml"
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
# Rows of a step where they are short, or of five kinds; else 16. What 77 labels take is laid out once per pack.
MANY_ROWS = {"tweets": 64, "intents": 128, "mix": 64}
PACKS = {"intents": 4096}  # tokens; else 2048


@cache
def prepared(workload: str, steps: int) -> PreparedRun:
    """The run of one workload: its task, all five for `mix`, or the example `team`, whose rows lie in the repository.

    Other rows come from the hub, or from the folder that the environment's DATA names.
    """
    batch = os.environ.get("BATCH", MANY_ROWS.get(workload, 16))
    overrides = [
        f"train.batch_size={batch}",
        f"train.max_steps={steps}",
        f"train.pack_tokens={PACKS.get(workload, 2048)}",
        f"output={Path(gettempdir(), 'multitune-speed')}",
    ]
    if workload == "team":
        own = ("seeds=1", "adapters=shared", "audit=off", "train.validate_metric=false", "train.validate_limit=2")
        return prepare_run(load_config(TEAM, [*overrides, *own]))
    overrides += _sources()
    if workload != "short_intents":  # the template's own prompt, without the list
        overrides.append(f"tasks.intents.prompt={json.dumps(_with_labels())}")
    config = load_config(CONFIG, overrides)
    names = tuple(LOCAL) if workload == "mix" else (workload.removeprefix("short_"),)
    tasks = tuple(task for task in config.tasks if task.name in names)
    return prepare_run(config.model_copy(update={"tasks": tasks}))


def batches(workload: str, steps: int) -> list[Sequence[Segments]]:
    """The first rows of a run in steps of 16, in the order that multitune trains on them."""
    run = prepared(workload, steps)
    stream = run.plans[0].stream
    rows = [run.tasks[draw.task].tokens["train"][draw.index] for step in range(steps) for draw in stream.draw(step)]
    if workload == "mix":  # a step's draws come task by task; 16 of them should be a mix as well
        rows = [rows[i] for i in generator(17, "mix").permutation(len(rows))]
    size = int(os.environ.get("PEER_BATCH", "16"))
    return [rows[size * step : size * (step + 1)] for step in range(steps)]


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
