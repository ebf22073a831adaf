"""What rank 0 tells the other ranks of a run: one message at a time, which all of them act upon together."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from multitune.core.results.base import Record


class RowOrder(NamedTuple):
    """A row of a step: whose it is, where it stands, and what each of its answer tokens weighs."""

    adapter: int  # its number in the bank
    task: int  # its place among the sets that are drawn from
    row: int  # its place in the set's training split
    weight: float


class PrepareMessage(Record):
    """Read the data and load the base: all that is made once is in the cache now."""

    kind: Literal["prepare"] = "prepare"


class ConnectMessage(Record):
    """Join the process group: all ranks agree on what to train."""

    kind: Literal["connect"] = "connect"


class TakeMessage(Record):
    """Take the weights of some trainees from rank 0."""

    kind: Literal["take"] = "take"
    trainees: tuple[str, ...]


class StepMessage(Record):
    """Compute your rows of a step, and add up the losses of all rows and the gradients of some trainees."""

    kind: Literal["step"] = "step"
    trainees: tuple[str, ...]
    rows: tuple[RowOrder, ...]
    shares: tuple[tuple[int, ...], ...]  # of each rank, places in `rows`


class LossesMessage(Record):
    """Give the losses of your share of a task's validation rows."""

    kind: Literal["losses"] = "losses"
    trainee: str
    task: str


class AnswersMessage(Record):
    """Give the answers to your share of a task's validation rows."""

    kind: Literal["answers"] = "answers"
    trainee: str
    task: str


class EndMessage(Record):
    """Leave: the run has ended, well or not."""

    kind: Literal["end"] = "end"


Message = PrepareMessage | ConnectMessage | TakeMessage | StepMessage | LossesMessage | AnswersMessage | EndMessage
MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


class Report(Record):
    """What a rank other than 0 will train, part by part, for rank 0 to compare with its own."""

    host: str
    parts: dict[str, str]  # such as `run file` -> its text


class Fault(Record):
    """Why a rank other than 0 cannot go on."""

    host: str
    text: str
    exit_code: int
