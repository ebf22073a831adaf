"""Examples as tokens: an Arrow table of ragged rows, cached by content, and never cut."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from multitune.core.errors import DataError
from multitune.core.records import Example, Segments
from multitune.data.cache import Batches, cached_table
from multitune.data.examples import Examples, batches
from multitune.data.row_tokens import row_tokens
from multitune.data.tokenizer import ChatFormat

if TYPE_CHECKING:
    from datasets import Dataset

LAYOUT = 4  # of the cached tables


@dataclass(frozen=True, eq=False)
class TokenSet(Sequence[Segments]):
    """Tokenised examples of one split; row i is that of `examples[kept[i]]`.

    The tokens lie in the cache's file, part by part, and come into memory as they are read.
    """

    parts: Sequence[np.ndarray]  # int32 (token,) each, read-only: the tokens of some rows laid end to end
    starts: np.ndarray  # int64 (part,) tokens of all parts before
    offsets: np.ndarray  # int64 (2 * row + 1,): where each prompt and each answer begins, all parts laid end to end
    kept: np.ndarray  # int64 (row,)
    too_long: list[str]  # ids of the examples left out for their length
    control: np.ndarray  # int64 (row of `examples`,) where prompt or answer hold a control token of the base as text
    digest: str  # sha256 hex over all tokens and which row they belong to

    def __len__(self) -> int:
        return len(self.kept)

    @overload
    def __getitem__(self, index: int) -> Segments: ...
    @overload
    def __getitem__(self, index: slice) -> list[Segments]: ...
    def __getitem__(self, index: int | slice) -> Segments | list[Segments]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]  # negative ones count from the end; beyond either end is an IndexError
        start, middle, end = self.offsets[2 * row : 2 * row + 3].tolist()
        part = int(self.starts.searchsorted(start, "right")) - 1
        tokens, before = self.parts[part], self.starts.item(part)
        return Segments(tokens[start - before : middle - before], tokens[middle - before : end - before])

    @property
    def total(self) -> int:
        """Tokens of all rows."""
        return int(self.offsets[-1])

    @property
    def answer_lengths(self) -> np.ndarray:
        """int64 (row,): tokens of each answer, which are those that carry loss."""
        return np.diff(self.offsets)[1::2]


def encode(
    examples: Sequence[Example],
    chat: ChatFormat,
    max_length: int,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> TokenSet:
    """Tokenise the examples of one split of one task.

    Args:
        examples: of one task.
        chat: what to tokenise with.
        max_length: rows with more tokens, prompt and answer together, are left out and listed in `too_long`.
        cache: folder for the result, keyed by content, format and `max_length`.
        progress: called with the number of examples done so far.

    Raises:
        TaskError: an answer turns into no token.
        DataError: every row is too long.
    """
    import pyarrow

    file = cache / f"{_key(examples, chat, max_length)}.arrow" if cache else None
    numbers = pyarrow.int64()
    tokens_, yes_no = pyarrow.list_(pyarrow.int32()), pyarrow.bool_()
    schema = pyarrow.schema({"row": numbers, "prompt": numbers, "tokens": tokens_, "control": yes_no})
    found = cached_table(file, schema, lambda: _tokenised(examples, chat, max_length, progress))
    if progress and not found.made:
        progress(len(examples))
    tokens = _token_set(examples, found.data, found.note)
    if len(examples) and not len(tokens):
        raise DataError(
            f"task {examples[0].task!r}: all {len(examples)} rows have more tokens than train.max_length, "
            f"which is {max_length}. Raise it, or shorten the prompt"
        )
    return tokens


def _tokenised(
    examples: Sequence[Example], chat: ChatFormat, max_length: int, progress: Callable[[int], None] | None
) -> Batches:
    """Number, length of the prompt and tokens of every row that is not too long."""
    import pyarrow

    digest = hashlib.sha256()
    lengths: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    done = 0
    for batch in batches(examples):
        rows = row_tokens(batch, chat)
        sizes = np.array([(len(row.prompt), len(row.answer)) for row in rows], dtype=np.int32)  # (row, 2)
        fits = np.flatnonzero(sizes.sum(1) <= max_length)
        parts = [part for i in fits.tolist() for part in (rows[i].prompt, rows[i].answer)]
        tokens = np.concatenate([np.empty(0, np.int32), *parts])
        ends = np.concatenate([[0], np.cumsum(sizes[fits].sum(1))]).astype(np.int32)
        lists = pyarrow.ListArray.from_arrays(pyarrow.array(ends), pyarrow.array(tokens))
        held = [chat.encoder.holds(row.prompt) or chat.encoder.holds(row.answer) for row in batch]
        columns = {
            "row": done + fits,
            "prompt": sizes[fits, 0].astype(np.int64),
            "tokens": lists,
            "control": np.array(held)[fits],
        }
        yield pyarrow.RecordBatch.from_pydict(columns)
        digest.update(tokens.tobytes())
        lengths.append(sizes[fits].reshape(-1))
        kept.append(done + fits)
        done += len(batch)
        if progress:
            progress(done)
    digest.update(_offsets(lengths).data)
    digest.update(np.concatenate([np.empty(0, np.int64), *kept]).data)
    return digest.hexdigest()


def _token_set(examples: Sequence[Example], table: "Dataset", digest: str) -> TokenSet:
    """A cached table as arrays over its own memory."""
    parts: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    control: list[np.ndarray] = []
    for batch in table.data.to_batches():
        tokens, prompt = batch.column("tokens"), batch.column("prompt").to_numpy()
        parts.append(tokens.flatten().to_numpy())
        lengths.append(np.stack([prompt, tokens.value_lengths().to_numpy() - prompt], axis=1).reshape(-1))
        kept.append(batch.column("row").to_numpy())
        control.append(kept[-1][batch.column("control").to_numpy(zero_copy_only=False)])
    rows = np.concatenate([np.empty(0, np.int64), *kept])
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    left_out = np.setdiff1d(np.arange(len(examples)), rows) if len(rows) < len(examples) else rows[:0]
    too_long = [examples[i].id for i in left_out.tolist()]
    marked = np.concatenate([np.empty(0, np.int64), *control])
    return TokenSet(parts, np.cumsum(sizes) - sizes, _offsets(lengths), rows, too_long, marked, digest)


def _offsets(lengths: Sequence[np.ndarray]) -> np.ndarray:
    ends = np.concatenate([np.zeros(1, np.int64), *lengths])
    return np.cumsum(ends, out=ends)


def _key(examples: Sequence[Example], chat: ChatFormat, max_length: int) -> str:
    digest = hashlib.sha256(f"{LAYOUT} {chat.fingerprint} {max_length}\n".encode())
    if isinstance(examples, Examples):
        digest.update(examples.digest.encode())
    else:
        for example in examples:
            texts = [example.prompt, example.answer, *([example.chat] if example.chat else [])]
            digest.update(json.dumps(texts).encode() + b"\n")
    return digest.hexdigest()[:32]
