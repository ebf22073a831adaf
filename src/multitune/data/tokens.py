"""Examples as tokens: ragged, cached by content, and never cut."""

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from multitune.core.errors import DataError
from multitune.core.records import Example, Segments
from multitune.data.shelf import TokenShelf, digest_of, mapped, token_file
from multitune.data.taskdata import Rendered
from multitune.data.tokenizer import ChatFormat

_log = logging.getLogger(__name__)

LAYOUT = 2  # of the cache's files
BATCH_ROWS = 1000
BATCH_CHARACTERS = 2_000_000  # the tokenizer keeps about a hundred bytes for each token of a batch


@dataclass(frozen=True, eq=False)
class TokenSet(Sequence[Segments]):
    """Tokenised examples of one split, laid end to end; row i is that of `examples[kept[i]]`."""

    tokens: np.ndarray  # int32 (token,); with a cache they lie in its file, and come into memory as they are read
    offsets: np.ndarray  # int64 (2 * row + 1,): where each prompt and each answer begins, and the end
    kept: np.ndarray  # int64 (row,)
    too_long: list[str]  # ids of the examples left out for their length
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
        start, middle, end = self.offsets[2 * row : 2 * row + 3]
        return Segments(self.tokens[start:middle], self.tokens[middle:end])

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
        progress: is told the number of examples done so far.

    Raises:
        TaskError: an answer turns into no token.
        DataError: every row is too long.
    """
    file = cache / f"{_key(examples, chat, max_length)}.npz" if cache else None
    arrays = _read(file, len(examples)) if file else None
    if arrays is None:
        _log.info("tokenising %d rows", len(examples))
        arrays = _tokenise(examples, chat, max_length, file, progress)
    else:
        _log.info("tokens of %d rows are read from %s", len(examples), file)
        if progress:
            progress(len(examples))
    tokens, offsets, kept = arrays
    if len(examples) and not len(kept):
        raise DataError(
            f"task {examples[0].task!r}: all {len(examples)} rows have more tokens than train.max_length, "
            f"which is {max_length}. Raise it, or shorten the prompt"
        )
    left_out = np.setdiff1d(np.arange(len(examples)), kept)
    digest = digest_of(tokens, offsets.tobytes() + kept.tobytes())
    return TokenSet(tokens, offsets, kept, [examples[i].id for i in left_out.tolist()], digest)


def _tokenise(
    examples: Sequence[Example],
    chat: ChatFormat,
    max_length: int,
    file: Path | None,
    progress: Callable[[int], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tokens, offsets, kept) as in TokenSet; they go into the cache's file as they come."""
    shelf = TokenShelf(file)
    lengths: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    done = 0
    for batch in _batches(examples):
        prompts = chat.encode_prompts([example.prompt for example in batch])
        names = [f"task {example.task!r}, row {example.id}" for example in batch]
        answers = chat.encode_answers([example.answer for example in batch], names)
        sizes = np.array([(len(p), len(a)) for p, a in zip(prompts, answers, strict=True)])  # (row, 2)
        fits = np.flatnonzero(sizes.sum(1) <= max_length)
        shelf.add([part for i in fits for part in (prompts[i], answers[i])])
        lengths.append(sizes[fits].reshape(-1))
        kept.append(done + fits)
        done += len(batch)
        if progress:
            progress(done)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([[], *lengths]))]).astype(np.int64)
    rows = np.concatenate([[], *kept]).astype(np.int64)
    return shelf.close(offsets, rows), offsets, rows


def _batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """Runs of examples, each short enough for the tokenizer to hold at once."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += len(example.prompt) + len(example.answer)
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _key(examples: Sequence[Example], chat: ChatFormat, max_length: int) -> str:
    digest = hashlib.sha256(f"{LAYOUT} {chat.fingerprint} {max_length}\n".encode())
    if isinstance(examples, Rendered):  # its rows are not read for their name alone
        digest.update(examples.digest.encode())
        return digest.hexdigest()[:32]
    for example in examples:
        digest.update(json.dumps([example.prompt, example.answer]).encode() + b"\n")
    return digest.hexdigest()[:32]


def _read(file: Path, examples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A cached result, or None where there is none or it is damaged: it's made again then."""
    try:
        # The zip's checksums find flipped bits. numpy leaves a file that it opened itself and cannot read open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            offsets, kept, digest = arrays["offsets"], arrays["kept"], str(arrays["digest"])
        tokens = mapped(token_file(file))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = len(offsets) == 2 * len(kept) + 1 and offsets[-1] == len(tokens) and (kept < examples).all()
    return (tokens, offsets, kept) if fits and digest_of(tokens) == digest else None
