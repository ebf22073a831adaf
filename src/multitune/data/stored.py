"""Rows that are too many to hold: they stay on disk and are read where they lie."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, final, overload

from multitune.core.errors import DataError
from multitune.core.paths import cache_folder
from multitune.data.formats import Row

if TYPE_CHECKING:
    from datasets import Dataset

LARGE_BYTES = 64 << 20  # a split of more bytes than this is not held in memory
ROWS_AT_ONCE = 1000


class StoredRows(Sequence[Row]):
    """Rows on disk, in order.

    Raises:
        DataError: on the first look at a row that cannot be read.
    """

    @abstractmethod
    def at(self, rows: Iterable[int]) -> Iterator[Row]:
        """The rows of these numbers; quickest where they ascend."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return list(self.at(range(*index.indices(len(self)))))
        return next(self.at([range(len(self))[index]]))

    def __iter__(self) -> Iterator[Row]:
        return self.at(range(len(self)))


def is_large(size: int) -> bool:
    """Whether rows of so many bytes stay on disk."""
    return size > LARGE_BYTES


def file_bytes(paths: Sequence[Path]) -> int:
    """What files take on disk."""
    return sum(path.stat().st_size for path in paths)


def parquet_bytes(paths: Sequence[Path]) -> int:
    """What Parquet files hold before compression, by their footers; 0 for damaged ones, whose reader says so."""
    import pyarrow
    import pyarrow.parquet

    try:
        footers = [pyarrow.parquet.read_metadata(path) for path in paths]
    except (pyarrow.ArrowException, OSError):
        return 0
    return sum(footer.row_group(i).total_byte_size for footer in footers for i in range(footer.num_row_groups))


@final
class ArrowRows(StoredRows):
    """The rows of an Arrow table that `datasets` maps into memory: of a hub set, or made once from Parquet files."""

    def __init__(self, table: "Dataset") -> None:
        self._table = table

    @classmethod
    def of_parquet(cls, paths: Sequence[Path], place: str) -> "ArrowRows":
        """Parquet files, written once as Arrow into the cache.

        Raises:
            DataError: they are damaged, differ in their columns, or do not fit on the disk.
        """
        import datasets

        try:
            folder = str(cache_folder() / "arrow")
            return cls(datasets.Dataset.from_parquet([str(path) for path in paths], cache_dir=folder))
        except Exception as error:  # the library wraps what went wrong, of any class, in one of its own
            cause = error.__cause__ or error
            files = ", ".join(map(str, paths))
            raise DataError(
                f"{place}: {files} cannot be read as Parquet ({str(cause).splitlines()[0]}). Make or download it "
                "again, let all files have the same columns, and see that MULTITUNE_CACHE lies on a disk with room"
            ) from error

    def __len__(self) -> int:
        return len(self._table)

    def at(self, rows: Iterable[int]) -> Iterator[Row]:
        """The rows of these numbers, a thousand at a time."""
        numbers = iter(rows)
        while some := list(islice(numbers, ROWS_AT_ONCE)):
            columns = self._table[some]
            yield from (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
