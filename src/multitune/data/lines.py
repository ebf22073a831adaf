"""JSON lines that are too many to hold: rows stay in their files and are read where they lie."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import BinaryIO, final, overload

import numpy as np

from multitune.core.errors import DataError
from multitune.data.formats import Row, json_line

LARGE_BYTES = 256 << 20  # files of more bytes than this together are not held in memory
READ_BYTES = 16 << 20


def are_large(paths: Sequence[Path]) -> bool:
    """Whether these files are JSON lines of more than LARGE_BYTES together."""
    return all(p.suffix.lower() in (".jsonl", ".ndjson") for p in paths) and _size(paths) > LARGE_BYTES


def _size(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


@final
class JsonLines(Sequence[Row]):
    """The rows of one or several files, in order; in memory are eight bytes for each.

    Raises:
        DataError: on the first look at a row that is no JSON object.
    """

    def __init__(self, paths: Sequence[Path], place: str) -> None:
        self._paths = list(paths)
        self._place = place
        self._starts = [_line_starts(path, place) for path in paths]
        self._first = [0, *accumulate(len(starts) for starts in self._starts)]  # of each file among all rows

    def __len__(self) -> int:
        return self._first[-1]

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return next(self.at([range(len(self))[index]]))

    def __iter__(self) -> Iterator[Row]:
        return self.at(range(len(self)))

    def at(self, rows: Iterable[int]) -> Iterator[Row]:
        """The rows of these numbers; quickest where they ascend."""
        for file, numbers in groupby(rows, lambda row: bisect_right(self._first, row) - 1):
            with self._paths[file].open("rb") as stream:
                for row in numbers:
                    yield self._read(stream, file, int(self._starts[file][row - self._first[file]]))

    def _read(self, stream: BinaryIO, file: int, start: int) -> Row:
        if stream.tell() != start:
            stream.seek(start)
        line = stream.readline()
        try:
            return json_line(line.decode("utf-8-sig"), f"{self._place}: {self._paths[file]} at byte {start}")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._place}: {self._paths[file]} is not UTF-8: byte {start + error.start} is "
                f"0x{line[error.start]:02x}. Save it again as UTF-8"
            ) from error


def _line_starts(path: Path, place: str) -> np.ndarray:
    """Where each line that is not empty begins, in bytes, int64 (row,)."""
    ends: list[np.ndarray] = []
    done = 0
    try:
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                ends.append(np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + done)
                done += len(block)
    except OSError as error:
        raise DataError(
            f"{place}: {path} cannot be read ({error.strerror or error}). Check the path and its rights"
        ) from error
    newlines = np.concatenate([*ends, [done]]).astype(np.int64)
    starts = np.concatenate([[0], newlines[:-1] + 1])
    return starts[newlines - starts > 1]  # "\r" alone is an empty line too, and no row is one byte long
