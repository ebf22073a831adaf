"""Examples as tokens: ragged, cached by content, and never cut."""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from multitune.core.errors import DataError
from multitune.core.records import Example, Segments
from multitune.data.tokenizer import ChatFormat

BATCH_ROWS = 1000
BATCH_CHARACTERS = 2_000_000  # the tokenizer keeps about a hundred bytes for each token of a batch


@dataclass(frozen=True, eq=False)
class TokenSet(Sequence[Segments]):
    """Tokenised examples of one split, laid end to end; row i is that of `examples[kept[i]]`."""

    tokens: np.ndarray  # int32 (token,)
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
        arrays = _tokenise(examples, chat, max_length, progress)
        if file:
            _write(file, *arrays)
    elif progress:
        progress(len(examples))
    tokens, offsets, kept = arrays
    if examples and not len(kept):
        raise DataError(
            f"task {examples[0].task!r}: all {len(examples)} rows have more tokens than train.max_length, "
            f"which is {max_length}. Raise it, or shorten the prompt"
        )
    left_out = np.setdiff1d(np.arange(len(examples)), kept)
    digest = hashlib.sha256(tokens.tobytes() + offsets.tobytes() + kept.tobytes()).hexdigest()
    return TokenSet(tokens, offsets, kept, [examples[i].id for i in left_out], digest)


def _tokenise(
    examples: Sequence[Example], chat: ChatFormat, max_length: int, progress: Callable[[int], None] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tokens, offsets, kept) as in TokenSet."""
    parts: list[np.ndarray] = []
    kept: list[int] = []
    done = 0
    for batch in _batches(examples):
        prompts = chat.encode_prompts([example.prompt for example in batch])
        names = [f"task {example.task!r}, row {example.id}" for example in batch]
        answers = chat.encode_answers([example.answer for example in batch], names)
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=done):
            if len(prompt) + len(answer) <= max_length:
                parts += [prompt, answer]
                kept.append(i)
        done += len(batch)
        if progress:
            progress(done)
    tokens = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return tokens, offsets, np.array(kept, dtype=np.int64)


def _batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """Runs of examples, each short enough for the tokenizer to hold at once."""
    start = characters = 0
    for i, example in enumerate(examples):
        characters += len(example.prompt) + len(example.answer)
        if i + 1 - start == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield examples[start : i + 1]
            start, characters = i + 1, 0
    if start < len(examples):
        yield examples[start:]


def _key(examples: Sequence[Example], chat: ChatFormat, max_length: int) -> str:
    digest = hashlib.sha256(f"{chat.fingerprint} {max_length}\n".encode())
    for example in examples:
        digest.update(json.dumps([example.prompt, example.answer]).encode() + b"\n")
    return digest.hexdigest()[:32]


def _read(file: Path, examples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A cached result, or None where there is none or it is damaged: it's made again then."""
    try:
        # The zip's checksums find flipped bits. numpy leaves a file that it opened itself and cannot read open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            tokens, offsets, kept = arrays["tokens"], arrays["offsets"], arrays["kept"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = len(offsets) == 2 * len(kept) + 1 and offsets[-1] == len(tokens) and (kept < examples).all()
    return (tokens, offsets, kept) if fits else None


def _write(file: Path, tokens: np.ndarray, offsets: np.ndarray, kept: np.ndarray) -> None:
    """Under a name of its own, then renamed: another process sees a whole file or none."""
    part = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent, prefix=".part-")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, tokens=tokens, offsets=offsets, kept=kept)
        os.replace(part, file)
    except OSError:  # a full disk costs the next start some seconds, not this run
        if part:
            Path(part).unlink(missing_ok=True)
