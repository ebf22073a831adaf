"""The records that pass between rooms: Example, Segments, Draw, Pack, Prediction, Score."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Rows of a split: fewer are called few, on validation and test rows too few to ship on.
FEW_ROWS: Mapping[Split, int] = {"train": 50, "validation": 50, "test": 100}
# Of a chat: {"role": system, user, assistant or tool, "content": text}, and what else its template reads.
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task as text: what the model reads, what it should say, what the metric compares.

    Of a conversation it is one turn of the assistant behind all turns before it; of plain text, an answer alone.
    """

    task: str
    id: str
    prompt: str
    answer: str
    # label (classify), option (choice), tuple of labels (labels), text (generate, text), float (number, regress),
    # tuple of (span, type) (tag)
    gold: Any
    group: str = ""  # rows of one document carry the same group
    ending: str = ""  # end tokens of the base that were taken off the answer
    # 16 hex digits each: hash of the whole row, and of the text that the prompt shows of it (0 where that is short).
    source: str = field(default="", compare=False)
    chat: str = ""  # JSON of `messages`, `tools` and `reply`, where the prompt is more than one question
    options: tuple[str, ...] = ()  # of a choice
    variant: str = ""  # what is asked in training, where that is not the prompt

    @property
    def asked(self) -> str:
        """The text by which the row is known: its prompt, or the whole of a plain text."""
        return self.prompt or self.answer


@dataclass(frozen=True, slots=True)
class Shot:
    """A row of a task that is shown with its answer, in front of all others; it is neither trained on nor tested."""

    id: str
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Segments:
    """One example as tokens. The answer ends with the token that closes the turn; only the answer carries loss."""

    prompt: np.ndarray  # int32 (prompt_token,)
    answer: np.ndarray  # int32 (answer_token,)

    @property
    def tokens(self) -> np.ndarray:
        """int32 (prompt_token + answer_token,)"""
        return np.concatenate([self.prompt, self.answer])


@dataclass(frozen=True, slots=True)
class Draw:
    """One choice of a mixture: the row `index` of the training split of `task`."""

    task: str
    index: int


@dataclass(frozen=True, slots=True)
class PackRow:
    """One row on its way into a pack: its tokens, and whose it is.

    `weight` multiplies the loss of each answer token. The row's place in the list that was packed comes back in
    Pack.target_row.
    """

    segments: Segments
    adapter: int
    task: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Pack:
    """A forest of token tries in depth-first order, cut to one micro-batch.

    Query q sees key k when `k <= q < end[k]`; `position` is the depth of a token in its trie. A branch point
    predicts several next tokens, so targets are (node, token, weight, row) and not one label per position.
    """

    tokens: np.ndarray  # int64 (token,)
    position: np.ndarray  # int64 (token,)
    end: np.ndarray  # int64 (token,)
    slices: tuple[tuple[int, int, int], ...]  # (adapter, first token, past the last token), in order
    target_node: np.ndarray  # int64 (target,) the token whose output predicts
    target_token: np.ndarray  # int64 (target,) what it should predict
    target_weight: np.ndarray  # float32 (target,)
    target_row: np.ndarray  # int64 (target,) index into `rows`
    rows: tuple[int, ...]  # index of each row in the list given to the packer
    row_task: np.ndarray  # int64 (row,)
    logical_tokens: int  # tokens of the same rows laid out one by one

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One model's output to one example, the value parsed from it, and its score."""

    task: str
    id: str
    output: str  # the raw text (or the label chosen)
    value: Any  # `output` parsed by the task: label, number, spans; None when it cannot be parsed
    gold: Any
    score: float  # this example alone: 1/0 for right/wrong metrics, else the metric's per-example value
    loss: float | None = None  # mean over the answer's tokens of the gold answer, in nats
    cut: bool = False  # whether `output` had not ended within the most tokens of an answer


@dataclass(frozen=True, slots=True)
class Score:
    """A metric over a set of predictions."""

    metric: str
    value: float
    examples: int
    extra: dict[str, float] = field(default_factory=dict)
