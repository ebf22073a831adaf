"""One training on 1, 2 and 4 processes: losses, adapters and steps, which must not depend on the number.

`make bench PART=many_processes`: a small random Llama (that of the tests) and two made tasks, with a shared adapter
and one per task, under torchrun on the CPU; N=1 is `multitune train` alone. LR and STEPS set the learning rate and
the steps. No times: processes that share a few cores say nothing about machines.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

from benchmarks.record import record
from tests.conftest import tiny_model, word_tokenizer

COMMAND = "make bench PART=many_processes"
COUNTS = (1, 2, 4)
STEPS, LR = int(os.environ.get("STEPS", "60")), float(os.environ.get("LR", "2e-4"))


def main() -> None:
    """Train on each number of processes, compare with one, record."""
    with tempfile.TemporaryDirectory() as place:
        file = made_run(Path(place))
        for count in COUNTS:
            train(file, count)
        one = Path(place, "1")
        figures = {str(count): compared(one, Path(place, str(count))) for count in COUNTS}
    record("many_processes", COMMAND, {"steps": STEPS, "learning_rate": LR, "processes": figures})
    print(json.dumps(figures, indent=2))


def made_run(place: Path) -> Path:
    """A run file with its base and its rows beside it."""
    tiny_model().save_pretrained(place / "base")
    word_tokenizer().save_pretrained(place / "base")
    tasks: list[dict[str, Any]] = []
    for name, kind in (("colours", "classify"), ("copy", "generate")):
        rows = [{"text": f"w{i % 78} w{(7 * i) % 41}", "label": ["red", "blue"][i % 2]} for i in range(200)]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        answer = "{{ label }}" if kind == "classify" else "{{ text }}"
        tasks.append(
            {"name": name, "kind": kind, "prompt": f"{name} {{{{ text }}}}", "answer": answer, "data": f"{name}.jsonl"}
        )
    train = {"max_steps": STEPS, "batch_size": 16, "alone": "equal_steps", "learning_rate": LR, "keep": "last"}
    run = {"base": "base", "tasks": tasks, "adapters": ["shared", "per_task"], "train": train, "output": str(place)}
    file = place / "run.yaml"
    file.write_text(yaml.safe_dump({**run, "dtype": "float32", "device": "cpu"}), "utf-8")
    return file


def train(file: Path, count: int) -> None:
    """Train in a folder named after the number of processes."""
    launcher = [] if count == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *launcher, "-m", "multitune", "train", str(file), "--set", f"name='{count}'"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def compared(one: Path, other: Path) -> dict[str, Any]:
    """The last losses of a run, and how far its losses and weights are from those of one process."""
    steps, reference = losses(other), losses(one)
    apart = [abs(loss - then[name]) for now, then in zip(steps, reference, strict=True) for name, loss in now.items()]
    return {
        "optimizer_steps": len(steps),
        "last_loss": {name: round(loss, 6) for name, loss in steps[-1].items()},
        "largest_loss_difference": max(apart),
        "largest_weight_difference": {name: weight_difference(one, other, name) for name in steps[-1]},
        "largest_weight": {
            name: max(float(tensor.abs().max()) for tensor in weights(other, name).values()) for name in steps[-1]
        },
    }


def weight_difference(one: Path, other: Path, adapter: str) -> float:
    """The largest difference of a weight of an adapter."""
    first, second = weights(one, adapter), weights(other, adapter)
    return max(float((first[key] - second[key]).abs().max()) for key in first)


def weights(run: Path, adapter: str) -> dict[str, Any]:
    """The tensors of an adapter that was trained."""
    return load_file(run / "adapters" / adapter / "adapter_model.safetensors")


def losses(run: Path) -> list[dict[str, float]]:
    """Adapter -> loss, step by step."""
    events = map(json.loads, (run / "events.jsonl").read_text("utf-8").splitlines())
    return [{n: one["loss"] for n, one in e["adapters"].items()} for e in events if e["kind"] == "step"]


if __name__ == "__main__":
    main()
