"""kill -9 in the middle of a real training run, then --resume: is the result that of a run never interrupted?"""

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import record

CONFIG = Path(__file__).parent.parent / "examples" / "finance" / "demo.yaml"
COMMAND = "make bench PART=kill_and_resume"
SMALL = ["train.max_steps=16", "train.validate_every=4", "train.validate_limit=8", "evaluate.limit=8"]


def main() -> None:
    """Run both ways in a temporary folder, compare, record."""
    with tempfile.TemporaryDirectory() as folder:
        straight = start(folder, "straight")
        assert straight.wait() == 0, "the uninterrupted run failed"
        killed_after = kill_midway(folder, "killed", after_checkpoints=2)
        resumed = start(folder, "killed", "--resume")
        assert resumed.wait() == 0, "the resumed run failed"
        same = compare(Path(folder, "straight"), Path(folder, "killed"))
    record("kill_and_resume", COMMAND, {"killed_after_events": killed_after, **same})
    print(json.dumps(same, indent=2))
    sys.exit(0 if same["adapters_identical"] and same["losses_identical"] else 1)


def start(folder: str, name: str, *options: str) -> "subprocess.Popen[bytes]":
    """A training run as its own process."""
    settings = [f"name={name}", f"output={folder}", *SMALL]
    flags = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "multitune.cli.main", "train", str(CONFIG), *flags, *options]
    return subprocess.Popen(command)


def kill_midway(folder: str, name: str, after_checkpoints: int) -> int:
    """Start a run and kill -9 it one step after its n-th checkpoint. Returns the events it had written."""
    process = start(folder, name)
    events = Path(folder, name, "events.jsonl")
    while process.poll() is None:
        kinds = [event["kind"] for event in read_events(events)]
        if kinds.count("checkpoint") >= after_checkpoints and kinds[-1] == "step":
            process.send_signal(signal.SIGKILL)
            process.wait()
            return len(kinds)
        time.sleep(0.05)
    raise SystemExit("the run ended before it could be killed; give it more steps")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The whole lines of an event log that may still be written."""
    if not path.exists():
        return []
    lines = path.read_text("utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def compare(straight: Path, resumed: Path) -> dict[str, Any]:
    """Bytes of the adapters, and losses of every step."""
    files = sorted(p.relative_to(straight) for p in straight.glob("adapters/*/adapter_model.safetensors"))

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def losses(run: Path) -> list[Any]:
        events = [e for e in read_events(run / "events.jsonl") if e["kind"] == "step"]
        return [{name: a["loss"] for name, a in e["adapters"].items()} for e in events]

    return {
        "adapters": {str(f.parent.name): digest(straight / f)[:16] for f in files},
        "adapters_identical": all(digest(straight / f) == digest(resumed / f) for f in files) and bool(files),
        "losses_identical": losses(straight) == losses(resumed),
        "steps": len(losses(straight)),
    }


if __name__ == "__main__":
    main()
