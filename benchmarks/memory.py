"""Memory of training as `check` tells it, against the peak that is measured, for seven shapes of base and run.

`make bench PART=memory`: random Llamas and made rows, each shape in a process of its own on the CPU, two steps.
Linux, which tells the peak. SHAPES='long;whole' picks some. What is compared is what a run adds to a process that has
loaded its libraries and rows; whatever these take is subtracted on both sides.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.quantized import resident
from benchmarks.record import record
from multitune.config.load import load_config
from multitune.core.run_folder import RunFolder
from multitune.model.backbone import load_backbone
from multitune.planning import check_run
from multitune.training.job import train_run
from multitune.training.prepare import prepare_run
from tests.conftest import word_tokenizer

COMMAND = "make bench PART=memory"
STEPS, ROWS = 2, 24  # rows of each of the two tasks
PEAK_FROM_HERE = "5"  # what Linux takes as: forget the peak so far


@dataclass(frozen=True)
class Shape:
    """One base with one run on it."""

    base: dict[str, int]  # of LlamaConfig
    words: int = 60  # of a prompt
    answer_words: int = 1
    run: dict[str, Any] = field(default_factory=dict[str, Any])
    train: dict[str, Any] = field(default_factory=dict[str, Any])


def llama(hidden: int, inner: int, layers: int, heads: tuple[int, int], vocabulary: int) -> dict[str, int]:
    """Fields of LlamaConfig; heads are those of queries and of keys."""
    fields = dict(zip(("num_attention_heads", "num_key_value_heads"), heads, strict=True))
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocabulary}
    return {**fields, **sizes}


DEEP = llama(576, 1536, 12, (9, 3), 49152)  # SmolLM2-135M with fewer layers
WIDE = llama(1024, 4096, 4, (16, 4), 32000)
SMALL = llama(512, 1536, 6, (8, 4), 32000)
SHAPES = {
    "many layers": Shape(DEEP),
    "many layers, recomputed": Shape(DEEP, train={"gradient_checkpointing": True}),
    "wide, nf4, three adapters": Shape(
        WIDE, run={"quantization": "nf4", "adapters": ["shared", "per_task"]}, train={"batch_size": 4}
    ),
    "long rows": Shape(SMALL, words=900, train={"batch_size": 2}),
    "large vocabulary, long answers": Shape(llama(512, 1536, 6, (8, 4), 128256), words=40, answer_words=60),
    "float32, rank 128": Shape(SMALL, run={"dtype": "float32", "lora": {"rank": 128, "alpha": 256}}),
    "whole model": Shape(SMALL, run={"method": "full", "adapters": "shared"}),
}


def main() -> None:
    """Measure, print and record."""
    wanted = os.environ.get("SHAPES", "").split(";")
    names = [name for name in SHAPES if any(one in name for one in wanted)]
    figures = {name: child(name) for name in names}
    print(json.dumps(figures, indent=2))
    if len(names) == len(SHAPES):
        record("memory", COMMAND, {"megabytes": figures})


def child(name: str) -> dict[str, Any]:
    """What a process of its own measures; the base is made in this one, so that nothing of it is left there."""
    with tempfile.TemporaryDirectory() as place:
        file = made_run(Path(place), SHAPES[name])
        command = [sys.executable, "-m", "benchmarks.memory", str(file)]
        environment = {**os.environ, "MULTITUNE_CACHE": f"{place}/cache"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    print(name, found, flush=True)
    return found


def measure(file: Path) -> dict[str, Any]:
    """Megabytes that loading the base and training add to this process, and what `check` tells."""
    config = load_config(file)
    need = check_run(config).estimate
    assert need.memory is not None
    prepared = prepare_run(config)
    warm_up()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    start, files = resident("VmRSS"), resident("RssFile")
    backbone = load_backbone(prepared.ref, "cpu", config.dtype, config.quantization)
    # The whole file stays mapped for the weights that lie in it; its other pages are the system's to drop.
    plain = sum(weight.nbytes for weight in backbone.model.parameters()) // 2**20
    dropped = max(0, resident("RssFile") - files - plain)
    Path("/proc/self/clear_refs").write_text(PEAK_FROM_HERE)
    train_run(prepared, RunFolder(Path(config.output) / "run"), backbone=backbone)
    peak = resident("VmHWM") - dropped - start
    estimated = need.memory_bytes / 2**20 - start
    return {
        "process_with_its_rows": start,
        "peak": peak,
        "estimated": round(estimated),
        "estimate_against_peak": round(estimated / peak, 3),
        "parts_estimated": {part: round(value / 2**20) for part, value in need.memory.plain().items()},
    }


def warm_up() -> None:
    """One step of a toy: the optimizer brings tens of megabytes of libraries, which are no part of a run's own."""
    from torch.utils.checkpoint import checkpoint

    weight = torch.ones(64, 64, dtype=torch.float32, requires_grad=True)
    loss: Any = checkpoint(lambda x: (x.bfloat16() @ x.bfloat16()).float().sum(), weight, use_reentrant=False)
    loss.backward()
    torch.optim.AdamW([weight], fused=True).step()


def made_run(place: Path, shape: Shape) -> Path:
    """A run file with its base and its rows beside it."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    made = {"max_position_embeddings": 8192, "pad_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": True}
    config = LlamaConfig.from_dict({**made, **shape.base, "dtype": "bfloat16"})
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(place / "base")
    word_tokenizer().save_pretrained(place / "base")
    rng, tasks = np.random.default_rng(0), []
    for name in ("one", "two"):
        words = rng.integers(0, 78, (ROWS, shape.words))
        rows = [{"text": " ".join(f"w{w}" for w in row)} for row in words]
        rows = [{**row, "said": " ".join(row["text"].split()[: shape.answer_words])} for row in rows]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        task = {"name": name, "kind": "generate", "prompt": "{{ text }}", "answer": "{{ said }}"}
        tasks.append({**task, "data": str(place / f"{name}.jsonl")})
    train = {"max_steps": STEPS, "batch_size": 16, "validate_metric": False, "validate_limit": 2, "keep": "last"}
    train |= {"alone": "equal_steps", "validate_every": STEPS, "max_length": 2048, **shape.train}
    run = {"base": str(place / "base"), "tasks": tasks, "adapters": "shared", "dtype": "bfloat16", "device": "cpu"}
    run |= {"audit": "off", "output": str(place), **shape.run, "train": train}
    file = place / "run.yaml"
    file.write_text(yaml.safe_dump(run), "utf-8")
    return file


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
