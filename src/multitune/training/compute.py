"""Where the gradients and validations of a run are computed: in this process alone, or shared out over ranks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, final

import numpy as np
import torch

from multitune.core.records import Draw, PackRow, Prediction
from multitune.mixture.division import divide_rows
from multitune.model.bank import AdapterBank
from multitune.training.loss import RowLosses, backward
from multitune.training.messages import AnswersMessage, LossesMessage, RowOrder, StepMessage, TakeMessage
from multitune.training.prepare import PreparedRun
from multitune.training.ranks import Leader, Ranks
from multitune.training.trainee import Trainee
from multitune.training.validation import answered_rows, validation_answers, validation_losses, validation_rows

T = TypeVar("T")


@dataclass(slots=True)
class StepRows:
    """The rows of one step, of all its learners."""

    rows: list[PackRow] = field(default_factory=list[PackRow])
    draws: list[Draw] = field(default_factory=list[Draw])
    owners: list[int] = field(default_factory=list[int])  # place of each row's learner


class Compute(ABC):
    """Computes for the trainees of one run."""

    notes: tuple[str, ...] = ()  # what the user should know about it

    def __init__(self, bank: AdapterBank, run: PreparedRun) -> None:
        self.bank = bank
        self.run = run

    @abstractmethod
    def backward(self, batch: StepRows, trainees: Sequence[Trainee]) -> RowLosses:
        """Add the gradients of the rows of a step to what their adapters hold."""

    @abstractmethod
    def gradients(self, trainee: Trainee) -> Sequence[torch.Tensor]:
        """The gradients of the whole step, one for each master."""

    @abstractmethod
    def publish(self, trainees: Sequence[Trainee]) -> None:
        """Let whatever computes use the weights as they are now."""

    @abstractmethod
    def validation_losses(self, trainee: Trainee, task: str) -> list[float]:
        """Nats per answer token of each validation row of a task."""

    @abstractmethod
    def validation_answers(self, trainee: Trainee, task: str) -> list[Prediction]:
        """The answers to them, with scores.

        Raises:
            MultituneError: the outputs are not finite, or a single prompt does not fit into memory.
        """


@final
class LocalCompute(Compute):
    """All in this process."""

    def backward(self, batch: StepRows, trainees: Sequence[Trainee]) -> RowLosses:
        """Pack by pack."""
        return backward(self.bank, batch.rows, self.run.config.train.pack_tokens)

    def gradients(self, trainee: Trainee) -> Sequence[torch.Tensor]:
        """Its own."""
        return trainee.gradients()

    def publish(self, trainees: Sequence[Trainee]) -> None:
        """Nothing to do: a trainee publishes itself here."""

    def validation_losses(self, trainee: Trainee, task: str) -> list[float]:
        """One forward pass over all rows."""
        return validation_losses(trainee, self.run, validation_rows(self.run, task))

    def validation_answers(self, trainee: Trainee, task: str) -> list[Prediction]:
        """All of them."""
        return validation_answers(trainee, self.run, task, answered_rows(self.run, task))


@final
class Part:
    """What one rank computes of what all of them are told; rank 0 takes part as the others do."""

    def __init__(self, ranks: Ranks, bank: AdapterBank, run: PreparedRun) -> None:
        self._ranks, self._bank, self._run = ranks, bank, run
        self.gradients: dict[str, Sequence[torch.Tensor]] = {}  # of the last step, by trainee

    def take(self, trainees: Sequence[Trainee]) -> None:
        """Have the weights that rank 0 has."""
        for trainee in trainees:
            self._ranks.from_leader(trainee.masters())
            trainee.publish()

    def step(self, message: StepMessage, trainees: Sequence[Trainee]) -> RowLosses:
        """Compute the rows of this rank, then add up the losses of all ranks, and their gradients on rank 0.

        A rank without rows takes part with zeros. What fails on one rank is known to all before gradients travel.
        """
        count, mine = len(message.rows), message.shares[self._ranks.rank]
        values = np.zeros(2 * count + 3)  # nats and tokens of each row, tokens computed, logical tokens, ranks failed

        def compute() -> None:
            names = list(self._run.tasks)
            rows = [
                PackRow(self._run.tasks[names[task]].tokens["train"][index], adapter, task, weight)
                for adapter, task, index, weight in (message.rows[place] for place in mine)
            ]
            found = backward(self._bank, rows, self._run.config.train.pack_tokens)
            places = np.array([mine[row] for row in found.rows], dtype=np.int64)
            values[places], values[count + places] = found.nats, found.tokens
            values[-3:-1] = found.executed_tokens, found.logical_tokens

        error = self._attempt(compute)
        values[-1] = error is not None
        values = self._ranks.sum_for_all(values)
        self._require_whole(error, bool(values[-1]))
        for trainee in trainees:
            self.gradients[trainee.spec.name] = trainee.gradients()
            self._ranks.sum_for_leader(self.gradients[trainee.spec.name])
        nats, tokens = values[:count], values[count : 2 * count].astype(np.int64)
        return RowLosses(list(range(count)), nats, tokens, int(values[-3]), int(values[-2]))

    def losses(self, trainee: Trainee, task: str) -> list[float]:
        """The losses of all validation rows of a task on rank 0, of which each rank computes some."""
        rows = validation_rows(self._run, task)
        packed = [PackRow(segments, adapter=trainee.number, task=0) for segments in rows]
        shares = divide_rows(packed, self._ranks.size, self._bank.backbone.shares_prefixes)
        mine = [rows[place] for place in shares[self._ranks.rank]]
        return self._gathered(lambda: validation_losses(trainee, self._run, mine), shares)

    def answers(self, trainee: Trainee, task: str) -> list[Prediction]:
        """The answers to all validation rows of a task on rank 0, of which each rank gives some."""
        places = answered_rows(self._run, task)
        shares = [list(range(len(places)))[rank :: self._ranks.size] for rank in range(self._ranks.size)]
        mine = [places[i] for i in shares[self._ranks.rank]]
        return self._gathered(lambda: validation_answers(trainee, self._run, task, mine), shares)

    def _gathered(self, compute: Callable[[], list[T]], shares: Sequence[Sequence[int]]) -> list[T]:
        """What all ranks compute, on rank 0 in the order of the rows; nothing on the others."""
        own: list[T] = []
        error = self._attempt(lambda: own.extend(compute()))
        found = self._ranks.gather(own if error is None else None)
        if self._ranks.rank:
            self._require_whole(error, False)
            return []
        self._require_whole(error, any(one is None for one in found))
        by_place = {
            place: value
            for share, values in zip(shares, found, strict=True)
            for place, value in zip(share, values, strict=True)
        }
        return [by_place[place] for place in range(len(by_place))]

    def _attempt(self, compute: Callable[[], None]) -> Exception | None:
        """Compute, and let rank 0 know where that failed: the others must not wait for this rank."""
        try:
            compute()
        except Exception as error:
            self._ranks.note_fault(error)
            return error
        return None

    def _require_whole(self, error: Exception | None, failed: bool) -> None:
        if error is not None:
            raise error
        if failed:
            self._ranks.peers_failed()


@final
class SharedCompute(Compute):
    """Each step and each validation shared out over ranks, with rank 0 in the lead."""

    def __init__(self, leader: Leader, bank: AdapterBank, run: PreparedRun) -> None:
        super().__init__(bank, run)
        self._leader = leader
        self._part = Part(leader, bank, run)
        self.notes = (f"steps and validations are shared out over {leader.size} processes",)

    def backward(self, batch: StepRows, trainees: Sequence[Trainee]) -> RowLosses:
        """Each rank its rows; the gradients of all come together here."""
        rows = tuple(
            RowOrder(row.adapter, row.task, draw.index, row.weight)
            for row, draw in zip(batch.rows, batch.draws, strict=True)
        )
        shares = divide_rows(batch.rows, self._leader.size, self.bank.backbone.shares_prefixes)
        message = StepMessage(trainees=_names(trainees), rows=rows, shares=tuple(map(tuple, shares)))
        self._leader.tell(message)
        return self._part.step(message, trainees)

    def gradients(self, trainee: Trainee) -> Sequence[torch.Tensor]:
        """The sums over all ranks."""
        return self._part.gradients[trainee.spec.name]

    def publish(self, trainees: Sequence[Trainee]) -> None:
        """Send the weights to all ranks."""
        self._leader.tell(TakeMessage(trainees=_names(trainees)))
        self._part.take(trainees)

    def validation_losses(self, trainee: Trainee, task: str) -> list[float]:
        """Each rank a stretch of the rows."""
        self._leader.tell(LossesMessage(trainee=trainee.spec.name, task=task))
        return self._part.losses(trainee, task)

    def validation_answers(self, trainee: Trainee, task: str) -> list[Prediction]:
        """Each rank every n-th row; an answer does not depend on its neighbours."""
        self._leader.tell(AnswersMessage(trainee=trainee.spec.name, task=task))
        return self._part.answers(trainee, task)


def _names(trainees: Sequence[Trainee]) -> tuple[str, ...]:
    return tuple(trainee.spec.name for trainee in trainees)
