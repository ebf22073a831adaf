"""Who trains the jobs of a study: this process, one after another, or the workers of a Ray cluster."""

import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from multitune.core.errors import InputError, MultituneError, TrainingError
from multitune.core.events import Observe, unwatched
from multitune.core.extras import missing_extra
from multitune.core.results.events import NoteEvent
from multitune.model.backbone import Backbone
from multitune.study.jobs import JobResult, StudyJob, load_base, train_job
from multitune.training.prepare import PreparedRun

RETRIES = 3  # of a job whose worker or node died
ANSWERS_WITHIN = 10.0  # seconds that a cluster has to take a connection


class Executor(Protocol):
    """Trains jobs in any order; each comes back once."""

    def run(self, prepared: PreparedRun, jobs: Iterable[StudyJob]) -> Iterator[JobResult]:
        """Results as they come.

        Raises:
            MultituneError: a job cannot be trained; those that came back are whole.
        """
        ...


class LocalExecutor:
    """One job after another, in this process."""

    def __init__(self, observe: Observe = unwatched) -> None:
        self._observe = observe
        self._backbone: Backbone | None = None

    def run(self, prepared: PreparedRun, jobs: Iterable[StudyJob]) -> Iterator[JobResult]:
        """Results in the order of the jobs, which train on one backbone."""
        for job in jobs:
            self._backbone = self._backbone or load_base(prepared)
            yield train_job(prepared, job, self._observe, self._backbone)


class RayExecutor:
    """Jobs as Ray tasks: the rows travel once through the object store, and a job whose worker dies is run again.

    The study's folder must be the same on all nodes, as on one machine or a shared disk: a job that is run again
    goes on from the checkpoint that lies there.
    """

    def __init__(self, address: str | None, cpus: float, observe: Observe = unwatched) -> None:
        self._ray = _ray()
        self._cpus, self._observe = cpus, observe
        if self._ray.is_initialized():
            return
        try:
            _require_answer(address)
            self._ray.init(address=address, log_to_driver=False)
        except (ConnectionError, OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--executor ray: no cluster answers at {address!r} ({_first_line(error)}). Start one with "
                "`ray start --head`, or leave out --ray-address to start one on this machine"
            ) from error

    def run(self, prepared: PreparedRun, jobs: Iterable[StudyJob]) -> Iterator[JobResult]:
        """Results as workers finish."""
        ray = self._ray
        rows = ray.put(prepared)
        task = ray.remote(num_cpus=self._cpus, max_retries=RETRIES)(_train_on_worker)
        pending: dict[Any, StudyJob] = {task.remote(rows, job, self._cpus): job for job in jobs}
        while pending:
            (ready, *_), _ = ray.wait(list(pending), num_returns=1)
            job = pending.pop(ready)
            try:
                result = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                if isinstance(cause, MultituneError):
                    raise cause from error
                raise TrainingError(f"{job.folder}: a Ray worker failed ({_first_line(error)})") from error
            except ray.exceptions.RayError as error:
                raise TrainingError(
                    f"{job.folder}: its worker died {RETRIES + 1} times ({_first_line(error)}). What is finished is "
                    "kept; the same command goes on"
                ) from error
            self._observe(NoteEvent(text=f"{job.folder.name}: done by a Ray worker"))
            yield result


def _train_on_worker(prepared: PreparedRun, job: StudyJob, cpus: float) -> JobResult:
    import torch

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(max(1, int(cpus)))
    return train_job(prepared, job)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise missing_extra("--executor ray", "ray") from error
    return ray


def _require_answer(address: str | None) -> None:
    """Ray itself would go on trying for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host, int(port)), timeout=ANSWERS_WITHIN):
            pass


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
