"""A run served by a process of its own, as the benchmarks of serving ask it."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ADMIN = {"Authorization": "Bearer admin"}


@dataclass(frozen=True, slots=True)
class Served:
    """A server under way."""

    url: str
    process: "subprocess.Popen[str]"

    @property
    def resident_mb(self) -> float:
        """Memory that it holds."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


@contextmanager
def served(run: Path, *options: str, port: int = 0) -> Generator[Served]:
    """The run behind `multitune serve`, whose admin key is `admin`."""
    command = [sys.executable, "-m", "multitune", "serve", str(run), "--port", str(port), "--admin-key", "admin"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Served(process.stdout.readline().split(" at ")[1].split("/v1")[0], process)
        finally:
            process.terminate()
