"""The processes of a run, as one of them sees them: messages through a common store, sums through a process group."""

import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import zip_longest
from typing import Any, NoReturn, final

import numpy as np
import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from multitune.core.errors import InputError, MultituneError, RankError, TrainingError
from multitune.core.processes import HOW, LIMIT, local_rank, rank, time_limit, world_size
from multitune.model.device import Device, pick_device
from multitune.training.messages import (
    MESSAGE,
    AnswersMessage,
    ConnectMessage,
    EndMessage,
    Fault,
    LossesMessage,
    Message,
    PrepareMessage,
    Report,
    StepMessage,
)
from multitune.training.signals import stop_on_signal

PAUSE = 0.05  # seconds between looks at what others have written
GRACE = 20.0  # seconds in which rank 0 has to give a sign, after the launcher asked all ranks to stop
FAREWELL = 10.0  # seconds in which ranks that still live say so, after one was lost
Lost = (RuntimeError, ValueError)  # what torch raises where a peer is gone or too slow


class PeersFailedError(Exception):
    """Another rank cannot go on, and has said why; rank 0 passes it on."""


class RanksLostError(Exception):
    """Another rank died or is too slow; rank 0 finds out for itself."""


def claim_device(device: Device) -> torch.device:
    """Where this rank computes: on the GPU with its number on the machine, or on the CPU.

    Raises:
        RankError: of a kind that ranks cannot share.
    """
    found = pick_device(device)
    if found.type == "mps":
        raise RankError("device: ranks add up on CPUs or CUDA GPUs, not on mps. Set device: cpu, or start one process")
    if found.type == "cuda":
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    return found


class Ranks(ABC):
    """What rank 0 and the others have in common."""

    def __init__(self) -> None:
        """Meet at the store of MASTER_ADDR and MASTER_PORT.

        Raises:
            RankError: it cannot be reached, or too few ranks came.
        """
        self.rank, self.size = rank(), world_size()
        self.limit = time_limit()
        try:
            store, _, _ = next(iter(rendezvous("env://", timeout=timedelta(seconds=self.limit))))
        except Lost as error:
            first_line = str(error).split("\n")[0]
            raise RankError(
                f"rank {self.rank} of {self.size} did not meet the others: {first_line}. MASTER_ADDR and MASTER_PORT "
                f"must name rank 0. {HOW}"
            ) from error
        self._store = PrefixStore("multitune", store)
        self._messages = 0  # messages so far

    def connect(self, device: torch.device) -> None:
        """Make the process group, in which no rank waits longer than the limit."""
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("group", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=self.limit),
        )

    def sum_for_all(self, values: np.ndarray) -> np.ndarray:
        """The sums over all ranks, float64, on every rank."""
        total = torch.from_numpy(values)
        with self._together():
            distributed.all_reduce(total)
        return total.numpy()

    def sum_for_leader(self, tensors: Sequence[torch.Tensor]) -> None:
        """Add up tensors in place on rank 0; on the others they hold nothing of meaning afterwards."""
        with self._together():
            for tensor in tensors:
                distributed.reduce(tensor, dst=0)

    def from_leader(self, tensors: Sequence[torch.Tensor]) -> None:
        """Put what tensors hold on rank 0 into those of the others."""
        with self._together():
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, on rank 0; nothing of meaning on the others."""
        found: list[Any] = [None] * self.size
        with self._together():
            distributed.gather_object(value, found if self.rank == 0 else None, dst=0)
        return found

    @abstractmethod
    def note_fault(self, error: Exception) -> None:
        """Let rank 0 know why this rank cannot go on."""

    @abstractmethod
    def peers_failed(self) -> NoReturn:
        """Leave what goes on, since another rank cannot go on."""
        ...

    @abstractmethod
    def _together(self) -> Any:
        """A context for what all ranks do at once, in which one of them may be lost."""


@final
class Leader(Ranks):
    """Rank 0: tells the others what to do, and is the only one to speak to the user."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lost = self._grouped = False
        self._kept: list[str] = []  # keys of messages that some rank may not have read
        self._answered = False  # whether all ranks have acted upon the last one
        super().__init__()

    def tell(self, message: Message) -> None:
        """Let all other ranks act upon a message."""
        if self._answered:
            for key in self._kept:
                self._store.delete_key(key)
            self._kept.clear()
        self._kept.append(f"message/{self._messages}")
        self._store.set(self._kept[-1], message.model_dump_json())
        self._messages += 1
        self._answered = isinstance(message, StepMessage | LossesMessage | AnswersMessage)

    def join(self, own: Mapping[str, str], device: torch.device) -> None:
        """Let the others prepare, since whatever is made once is in the cache, and make the process group with them.

        Args:
            own: what this process will train, part by part.
            device: where it computes.

        Raises:
            RankError: one disagrees, or did not come in time.
            MultituneError: one of them could not prepare.
        """
        self.tell(PrepareMessage())
        # The cache may be on this machine alone: the others then take as long as this process did.
        deadline = time.monotonic() + self.limit + 3 * (time.monotonic() - self._began)
        with stop_on_signal(self._stopped):
            for other in range(1, self.size):
                while not self._store.check([f"report/{other}"]):
                    self._raise_fault()
                    if time.monotonic() > deadline:
                        raise RankError(f"rank {other} did not come in time; {self._missing()}")
                    time.sleep(PAUSE)
                _require_same(other, Report.model_validate_json(self._store.get(f"report/{other}")), own)
        self.tell(ConnectMessage())
        with self._together():
            self.connect(device)
        self._grouped = True

    def end(self) -> None:
        """Let the others leave, and give them the time for it: their store may live in this process."""
        if self._lost:
            return
        with suppress(*Lost):
            self.tell(EndMessage())
            self._staying()
        if self._grouped:
            distributed.destroy_process_group()

    def note_fault(self, error: Exception) -> None:
        """Nothing to note: it is raised here."""

    def peers_failed(self) -> NoReturn:
        """Say what happened to the other rank.

        Raises:
            MultituneError: always.
        """
        self._raise_fault()
        raise TrainingError("a rank ended without an error message (killed?); the last checkpoint is intact")

    def _raise_fault(self) -> None:
        for other in range(1, self.size):
            if self._store.check([f"fault/{other}"]):
                fault = Fault.model_validate_json(self._store.get(f"fault/{other}"))
                kind = InputError if fault.exit_code == InputError.exit_code else TrainingError
                raise kind(f"rank {other} on {fault.host}: {fault.text}")

    def _stopped(self) -> None:
        raise TrainingError(f"asked to stop while {self._missing()}; nothing was trained")

    def _missing(self) -> str:
        late = [str(other) for other in range(1, self.size) if not self._store.check([f"report/{other}"])]
        return f"rank {', '.join(late)} had not prepared yet: it died, or another rank was still at work"

    @contextmanager
    def _together(self) -> Generator[None]:
        try:
            yield
        except Lost as error:
            self._lost = True
            self._raise_fault()
            raise self._lost_rank(error) from error

    def _lost_rank(self, error: Exception) -> MultituneError:
        """Which ranks are gone: those that do not even take leave."""
        self.tell(EndMessage())
        if self._grouped and distributed.get_backend() == "gloo":
            distributed.destroy_process_group()  # ranks that wait for this one in a sum need not wait out the limit
        gone = self._staying()
        who = f"rank {', '.join(map(str, gone))}" if gone else "a rank"
        reason = (
            re.sub(r"^\[[^]]*\]\s*", "", str(error).strip()).split("\n")[0].split(". ")[0]
        )  # without gloo's advice
        return TrainingError(
            f"{who} died or gave no answer for {self.limit} s ({reason}). The last checkpoint is intact, and "
            f"`--resume` starts from it, on any number of processes; {LIMIT} is the limit in seconds"
        )

    def _staying(self) -> list[int]:
        """The ranks that have not taken leave within a while."""
        others = list(range(1, self.size))
        deadline = time.monotonic() + FAREWELL
        while others and time.monotonic() < deadline:
            others = [other for other in others if not self._store.check([f"left/{other}"])]
            time.sleep(PAUSE)
        return others


@final
class Member(Ranks):
    """Any other rank: does what rank 0 tells, and is silent."""

    def __init__(self) -> None:
        self._asked_to_stop: float | None = None
        super().__init__()

    def listen(self) -> Message:
        """The next message; the end where rank 0 is gone."""
        key, began = f"message/{self._messages}", time.monotonic()
        try:
            while not self._store.check([key]):  # `wait` would warn on stderr
                now = time.monotonic()
                if self._asked_to_stop and now > self._asked_to_stop + GRACE:
                    return EndMessage()
                time.sleep(min(PAUSE, 0.0002 + (now - began) / 4))
            self._messages += 1
            return MESSAGE.validate_json(self._store.get(key))
        except Lost:
            return EndMessage()

    def asked_to_stop(self) -> None:
        """A signal is rank 0's affair, which saves and lets all leave; where it is silent, leave after a while."""
        self._asked_to_stop = self._asked_to_stop or time.monotonic()

    def leave(self) -> None:
        """Let rank 0 know that this rank lives, and ends."""
        with suppress(*Lost):
            self._store.set(f"left/{self.rank}", "")

    def report(self, parts: Mapping[str, str]) -> None:
        """Let rank 0 compare what this rank will train."""
        report = Report(host=socket.gethostname(), parts=dict(parts))
        self._store.set(f"report/{self.rank}", report.model_dump_json())

    def note_fault(self, error: Exception) -> None:
        """Let rank 0 say it: the line of an error of ours, the whole of any other."""
        ours = isinstance(error, MultituneError)
        text = str(error) if ours else f"{type(error).__name__}: {error}"
        fault = Fault(host=socket.gethostname(), text=text, exit_code=error.exit_code if ours else 1)
        with suppress(*Lost):
            self._store.set(f"fault/{self.rank}", fault.model_dump_json())

    def peers_failed(self) -> NoReturn:
        """Go back to listening.

        Raises:
            PeersFailedError: always.
        """
        raise PeersFailedError

    @contextmanager
    def _together(self) -> Generator[None]:
        try:
            yield
        except Lost as error:
            raise RanksLostError from error


@contextmanager
def leading() -> Generator[Leader | None]:
    """Within the block this process leads the other ranks, which leave at its end; None in a run of one process.

    Raises:
        RankError: the ranks did not meet, or this is not rank 0.
    """
    if world_size() == 1:
        yield None
        return
    if rank():
        raise RankError(f"rank {rank()}: training is led by rank 0. Start `torchrun … -m multitune train FILE`")
    leader = Leader()
    try:
        yield leader
    finally:
        leader.end()


def _require_same(other: int, report: Report, own: Mapping[str, str]) -> None:
    """Compare what two ranks will train.

    Raises:
        RankError: names the first difference.
    """
    for part, ours in own.items():
        theirs = report.parts.get(part, "")
        for there, here in zip_longest(theirs.splitlines(), ours.splitlines(), fillvalue="nothing"):
            if there != here:
                raise RankError(
                    f"rank {other} on {report.host} disagrees with rank 0 on the {part}: {there.strip()} there, "
                    f"{here.strip()} here. Give all ranks the same run file, options, data, base and packages"
                )
