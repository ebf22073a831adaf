"""JSON lines that are too many to hold, by where each begins in its file."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import BinaryIO, final

import numpy as np

from multitune.core.errors import DataError
from multitune.data.formats import Row, json_line
from multitune.data.stored import StoredRows

READ_BYTES = 16 << 20


@final
class JsonLines(StoredRows):
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

    def at(self, rows: Iterable[int]) -> Iterator[Row]:
        """The rows of these numbers, a file at a time."""
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
