"""Where multitune keeps what it can make again: converted bases and tokenised rows."""

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """`$MULTITUNE_CACHE`, or `~/.cache/multitune`; not created here."""
    chosen = os.environ.get("MULTITUNE_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "multitune"


def file_key(path: Path) -> str:
    """16 hex digits that change when a file does: from its size, its time of change and its first megabyte."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
    facts = path.stat()
    return hashlib.sha256(f"{facts.st_size} {facts.st_mtime_ns} ".encode() + head).hexdigest()[:16]
