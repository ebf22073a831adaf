"""Tokens on their way into a file, so that a set of any size can be made and read without holding it in memory."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, final

import numpy as np

_log = logging.getLogger(__name__)

HASHED_TOKENS = 1 << 22  # at a time


def token_file(index: Path) -> Path:
    """Where the tokens lie whose offsets stand in `index`."""
    return index.with_suffix(".tokens")


def mapped(path: Path) -> np.ndarray:
    """The tokens of a file, int32 (token,), without reading them yet."""
    if not path.stat().st_size:
        return np.empty(0, dtype=np.int32)
    return np.asarray(np.memmap(path, dtype=np.int32, mode="c"))  # never written; torch wants arrays it could write to


def digest_of(tokens: np.ndarray, rest: bytes = b"") -> str:
    """sha256 hex over tokens and what belongs to them."""
    digest = hashlib.sha256()
    for start in range(0, len(tokens), HASHED_TOKENS):
        digest.update(tokens[start : start + HASHED_TOKENS].tobytes())
    digest.update(rest)
    return digest.hexdigest()


@final
class TokenShelf:
    """Takes tokens in and gives them back as one array: from a file in the cache, or from memory where there is none.

    A cache that cannot be written costs memory and the next start some seconds, not this run.
    """

    def __init__(self, index: Path | None) -> None:
        self._index = index
        self._held: list[np.ndarray] = []  # what is not in the file
        self._written = 0  # tokens in the file
        self._part: Path | None = None
        self._stream: BinaryIO | None = self._opened(index) if index else None

    def _opened(self, index: Path) -> BinaryIO | None:
        try:
            index.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=index.parent, prefix=".part-")
        except OSError as error:
            _log.warning("%s cannot be written (%s): tokens are held in memory and not cached", index.parent, error)
            return None
        self._part = Path(part)
        return os.fdopen(handle, "wb", buffering=0)

    def add(self, parts: Sequence[np.ndarray]) -> None:
        """Behind all that was added before."""
        tokens = np.concatenate([np.empty(0, dtype=np.int32), *parts])
        if self._stream is not None:
            try:
                if self._stream.write(tokens.tobytes()) == tokens.nbytes:
                    self._written += len(tokens)
                    return
            except OSError:
                pass
            self._take_back()
        self._held.append(tokens)

    def _take_back(self) -> None:
        """The disk is full: what was written comes into memory, and the rest stays there."""
        _log.warning("%s is full: tokens are held in memory and not cached", self._part)
        assert self._stream is not None and self._part is not None
        self._stream.close()
        self._held = [np.fromfile(self._part, dtype=np.int32, count=self._written)]
        self._drop()

    def _drop(self) -> None:
        self._stream = None
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def close(self, offsets: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """All tokens, int32 (token,). The files get their names last: another process sees them whole or not."""
        if self._stream is None or self._part is None or self._index is None:
            return np.concatenate([np.empty(0, dtype=np.int32), *self._held])
        self._stream.close()
        tokens = mapped(self._part)
        digest = digest_of(tokens)
        part = self._part.with_name(f"{self._part.name}-index")
        try:
            with part.open("wb") as stream:
                np.savez(stream, offsets=offsets, kept=kept, digest=digest)
            os.replace(self._part, token_file(self._index))
            os.replace(part, self._index)
        except OSError as error:
            _log.warning("%s cannot be written (%s): tokens are held in memory and not cached", self._index, error)
            part.unlink(missing_ok=True)
            tokens = np.array(tokens)
            self._drop()
        return tokens
