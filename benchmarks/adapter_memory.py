"""Memory of a bank that answers with 64 adapters: the base alone, loaded to answer, and loaded with float32 masters.

`make bench PART=adapter_memory`: SmolLM2-135M, rank 16 on all layers. Linux, which tells the resident memory at once.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.record import record
from multitune.core.bases import resolve_base
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter, save_adapter

COMMAND = "make bench PART=adapter_memory"
ADAPTERS = 64
WAYS: tuple[Literal["compute", "float32"], ...] = ("compute", "float32")


def main() -> None:
    """One process for each way, so that none inherits another's memory."""
    with tempfile.TemporaryDirectory() as folder:
        base = child("make", folder)
        loaded = {way: child(way, folder) for way in WAYS}
    own = ADAPTERS * base["parameters"] * 2 / 2**20
    figures = {
        "adapters": ADAPTERS,
        "parameters_each": base["parameters"],
        "own_weights_mb": round(own),
        "base_mb": base["resident_mb"],
        "loaded_mb": {way: found["resident_mb"] for way, found in loaded.items()},
        "against_base_and_own_weights": {
            way: round(found["resident_mb"] / (base["resident_mb"] + own), 3) for way, found in loaded.items()
        },
        "seconds_to_load": {way: found["seconds"] for way, found in loaded.items()},
    }
    print(json.dumps(figures, indent=2))
    record("adapter_memory", COMMAND, figures)


def child(way: str, folder: str) -> dict[str, Any]:
    """What one process says of itself."""
    command = [sys.executable, "-m", "benchmarks.adapter_memory", way, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


def measure(way: str, folder: Path) -> None:
    """Load as many adapters as `way` says, answer as the last and as the base, and print the resident memory."""
    bank = AdapterBank(load_backbone(resolve_base("smollm2-135m", Path.cwd()), "cpu", "bfloat16"))
    seconds = 0.0
    if way == "make":
        answer(bank, "base")
        resident = resident_mb()  # before there is an adapter
        save_adapter(bank.create("a", 16, 32.0, "all", seed=17), folder / "a", bank, {})
        parameters = len(bank["a"].weights)
    else:
        started = time.perf_counter()
        for number in range(ADAPTERS):
            load_adapter(bank, folder / "a", f"a{number}", keep="compute" if way == "compute" else "float32")
        seconds = time.perf_counter() - started
        answer(bank, f"a{ADAPTERS - 1}")
        answer(bank, "base")
        resident, parameters = resident_mb(), len(bank["a0"].weights)
    print(json.dumps({"resident_mb": resident, "parameters": parameters, "seconds": round(seconds, 1)}))


@torch.no_grad()
def answer(bank: AdapterBank, name: str) -> None:
    """One forward pass, so that every weight has been touched."""
    with bank.use(name) as model:
        model(input_ids=torch.arange(100, 164)[None], use_cache=False)


def resident_mb() -> int:
    """Resident memory of this process."""
    gc.collect()
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return round(int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024)


if __name__ == "__main__":
    measure(sys.argv[1], Path(sys.argv[2]))
