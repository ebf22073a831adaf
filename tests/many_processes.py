"""Several real processes of one run, each forked from a server that has imported everything: quick to start."""

import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("tests.many_processes", "multitune.cli.show", "multitune.cli.watch", "multitune.pipeline"),
        *("multitune.reporting.page", "multitune.training.member", "datasets", "sklearn.linear_model"),
        *("transformers.models.auto.tokenization_auto", "transformers.models.llama.modeling_llama"),
    ]
)
PATIENCE = 120.0  # seconds until a test gives up


def _rank(environment: dict[str, str], arguments: list[str], printed: str, first: Callable[[], None] | None) -> None:
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(environment)
    sys.argv = ["multitune", *arguments]
    if first is not None:
        first()
    from multitune.cli.main import run

    run()


class Started:
    """The ranks of a run under way."""

    def __init__(
        self,
        folder: Path,
        commands: Sequence[Sequence[object]],
        first: Callable[[], None] | None = None,
        **environment: str,
    ) -> None:
        """Start a process for each command line; the last one does something else first."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(commands))}
        shared |= {"MULTITUNE_CACHE": os.environ["MULTITUNE_CACHE"], **environment}
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [folder / f"rank{rank}.txt" for rank in range(len(commands))]
        self.ranks: list[BaseProcess] = []
        for rank, command in enumerate(commands):
            own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            own_first = first if rank == len(commands) - 1 else None
            given = (own, list(map(str, command)), str(self._files[rank]), own_first)
            self.ranks.append(CONTEXT.Process(target=_rank, args=given))
            self.ranks[-1].start()

    def printed(self, rank: int) -> str:
        """What a rank has printed; the bars of libraries, which were imported before they could be silenced, aside."""
        lines = self._files[rank].read_text("utf-8").splitlines()
        return "\n".join(line for line in lines if line and not line.startswith("Loading weights"))

    def signal(self, number: int) -> None:
        """Send a signal to all, as launchers do."""
        for process in self.ranks:
            if process.is_alive():
                os.kill(process.pid or 0, number)

    def when(self, ready: Callable[[], bool]) -> None:
        """Wait for something that the ranks bring about."""
        deadline = time.monotonic() + PATIENCE
        while not ready():
            assert self.ranks[0].is_alive(), self.printed(0)
            assert time.monotonic() < deadline, self.printed(0)
            time.sleep(0.01)

    def codes(self) -> list[int | None]:
        """The exit codes of all, once they have ended."""
        for process in self.ranks:
            process.join(PATIENCE)
        codes = [process.exitcode for process in self.ranks]
        for process in self.ranks:
            process.kill()
        return codes


def events(run: Path) -> list[dict[str, Any]]:
    """The whole lines of an event log that may still be written."""
    file = run / "events.jsonl"
    lines = file.read_text("utf-8").split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]
