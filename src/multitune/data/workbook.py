"""Excel workbooks: the sheets that have rows, and the rows of one of them."""

import datetime
import io
import warnings
import zipfile
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from multitune.core.errors import DataError, suggest
from multitune.core.extras import require_extra
from multitune.core.text import column_name
from multitune.core.untrusted import most_unpacked, raised_by

Row = dict[str, Any]


class Workbook:
    """An `.xlsx` or `.xlsm` file, opened."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        """Read the file as a whole.

        Args:
            file: the workbook.
            where: its path, for messages.

        Raises:
            MissingExtraError: openpyxl is not installed.
            DataError: it is no workbook, or grows beyond measure.
        """
        require_extra(where, "excel", "openpyxl")
        import openpyxl

        content = io.BytesIO(file.read())
        self._where = where
        try:
            grown = sum(part.file_size for part in zipfile.ZipFile(content).infolist())
        except zipfile.BadZipFile as error:
            raise DataError(f"{where} is not a whole workbook ({error}). Save it again, or save it as CSV") from error
        if grown > (most := most_unpacked(content.getbuffer().nbytes)):  # before any of it is unpacked
            raise DataError(f"{where} grows to more than {most} bytes; {raised_by('EXPANSION')}")
        try:
            with warnings.catch_warnings():  # of features of Excel that are not read, such as drop-down lists
                warnings.simplefilter("ignore")
                self._book: Any = openpyxl.load_workbook(content, read_only=True, data_only=True)
        except Exception as error:  # faults of zip, XML and openpyxl's own come in any class
            raise DataError(f"{where} is not a whole workbook ({error}). Save it again, or save it as CSV") from error

    def sheets(self) -> list[str]:
        """Names of the sheets that have a row below their header, in order."""
        return [sheet.title for sheet in self._book.worksheets if len(list(islice(_filled(sheet), 2))) == 2]

    def rows(self, sheet: str | None = None) -> Iterator[Row]:
        """Every filled row below the first filled one, which names the columns.

        Formulas read as the value that was last computed, dates as ISO 8601 text. Columns without a name and without
        a value are left out.

        Args:
            sheet: its name; needless where one sheet alone has rows.

        Raises:
            DataError: no such sheet, several sheets with rows and none named, or a column without a name of its own.
        """
        names = self.sheets()
        if sheet is None and len(names) > 1:
            listed = ", ".join(names)
            raise DataError(f"{self._where} has {len(names)} sheets with rows: {listed}. Name one: data.sheet")
        if sheet is not None and sheet not in names:
            raise DataError(f"{self._where}: data.sheet is {sheet!r}, no sheet with rows. {suggest(sheet, names)}")
        for name in [sheet] if sheet else names:
            yield from _named_rows(self._book[name], f"{self._where}, sheet {name!r}")


def _filled(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a sheet that hold anything."""
    return (row for row in sheet.iter_rows(values_only=True) if any(cell not in (None, "") for cell in row))


def _named_rows(sheet: Any, where: str) -> Iterator[Row]:
    lines = _filled(sheet)
    header = ["" if cell is None else column_name(str(cell)) for cell in next(lines)]
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise DataError(f"{where} must name every column once, but its first row is {header}. Correct the header")
    for number, line in enumerate(lines, start=1):
        for at, cell in enumerate(line):
            if cell not in (None, "") and not header[at]:
                raise DataError(f"{where}: column {at + 1} has no name, but row {number} fills it. Correct the header")
        yield {name: _value(cell) for name, cell in zip(header, line, strict=True) if name}


def _value(cell: Any) -> Any:
    """Dates without a time of day as Excel shows them, numbers that are whole without a point."""
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return cell
