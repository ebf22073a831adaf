"""Files that are no rows of data: what each looks like, by its name or its first bytes, and what to do."""

from collections.abc import Mapping
from pathlib import Path

from multitune.core.errors import DataError

_SHEET = "an old Excel, OpenDocument or Numbers workbook. Save it as .xlsx, or the sheet as CSV UTF-8"
_PACKED = "packed. Unpack it, or pack it with gzip"
_TEXT = "of no format with columns. Write it as JSON lines or CSV"
BY_SUFFIX: Mapping[str, str] = {
    **dict.fromkeys((".xls", ".ods", ".numbers"), _SHEET),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz", ".zst", ".bz2", ".xz"), _PACKED),
    **dict.fromkeys((".txt", ".md", ".xml", ".html", ".pdf", ".docx"), _TEXT),
    **dict.fromkeys((".arrow", ".feather", ".pkl", ".pickle"), "of a library's own. Write it with `to_parquet`"),
}
# The first bytes of a file; words in lower case.
BY_START: Mapping[bytes, str] = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself. Fetch it with `git lfs pull`",
    b"<!doctype html": "a web page, as a link behind a login gives it. Download the file itself",
    b"<html": "a web page, as a link behind a login gives it. Download the file itself",
    b"PK\x03\x04": "a zip archive or a workbook of Excel. Unpack it, or name it .xlsx",
    b"\xd0\xcf\x11\xe0": "an old workbook of Excel. Save the sheet as CSV UTF-8",
    b"\x1f\x8b": "packed with gzip. Put .gz behind its name",
    b"PAR1\x15": "a Parquet file. Name it .parquet",
    b"\xff\xfe": "UTF-16 text. Save it again as UTF-8",
    b"\xfe\xff": "UTF-16 text. Save it again as UTF-8",
}
SAVED = ("state.json", "dataset_dict.json")  # in folders of `save_to_disk` of datasets


def require_rows(start: bytes, where: str) -> None:
    """Refuse a file by how it begins.

    Raises:
        DataError: it begins like something that holds no rows.
    """
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:32]
    heads = (head, head.lower())
    if looks := next((text for begin, text in BY_START.items() if any(h.startswith(begin) for h in heads)), None):
        raise DataError(f"{where} is {looks}")


def require_own_rows(folder: Path, place: str) -> None:
    """Refuse a folder that a library wrote for itself.

    Raises:
        DataError: `save_to_disk` of datasets wrote it.
    """
    if any((folder / name).is_file() for name in SAVED):
        raise DataError(
            f"{place}: {folder} was written by `save_to_disk` of datasets. Write each split with "
            '`to_parquet("train.parquet")`, and give these'
        )
