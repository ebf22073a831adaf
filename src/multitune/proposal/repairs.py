"""What an untidy set needs before it can be learned: its encoding, its sheet, rows to leave out, one spelling."""

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from multitune.config.source import SourceConfig
from multitune.config.task import TaskConfig
from multitune.core.errors import DataError
from multitune.core.results.proposal import Choice
from multitune.data.formats import TEXTS, WESTERN, sheet_names, suffix_of, text_lines
from multitune.data.sources import Table
from multitune.proposal.files import FoundSet
from multitune.tasks.task import Task

SHOWN = 60  # characters of a line


def describe_source(one: FoundSet) -> tuple[SourceConfig, list[Choice]]:
    """Where the rows of a set are, with the encoding and the sheet if the files need them, and why.

    Raises:
        MissingExtraError: a workbook without openpyxl.
        DataError: a damaged workbook.
    """
    fields = {split: str(path) for split, path in one.files.items()}
    reasons: list[Choice] = []
    texts = [path for path in one.files.values() if suffix_of(path) in TEXTS and path.is_file()]
    found = {encoding for path in texts if (encoding := _encoding(path)) != "ascii"}
    if found == {WESTERN}:
        fields["encoding"] = WESTERN
        line = next(line for path in texts for line in text_lines(path, "", WESTERN) if not line.isascii())
        reads = _around(line)
        reasons.append(
            Choice(of=one.name, field="data.encoding", value=WESTERN, because=f"not UTF-8; so a line reads {reads!r}")
        )
    sheets = sheet_names(one.files["train"], f"task {one.name!r}")
    if len(sheets) > 1:
        fields["sheet"] = sheets[0]
        because = f"the first of those with rows: {', '.join(sheets)}"
        reasons.append(Choice(of=one.name, field="data.sheet", value=sheets[0], because=because))
    return SourceConfig.model_validate(fields), reasons


def _encoding(path: Path) -> str:
    """The first of three encodings that all of a file can be read in; UTF-8 where it is none of them."""
    for encoding in ("ascii", "utf-8", WESTERN):
        try:
            for _ in text_lines(path, "", encoding):
                pass
            return encoding
        except DataError:
            continue
        except (OSError, EOFError, zlib.error):  # a damaged archive, which reading its rows will name
            break
    return "utf-8"


def _around(line: str) -> str:
    """A part of a line with its first character beyond ASCII."""
    at = next(place for place, char in enumerate(line) if not char.isascii())
    return line[max(0, at - SHOWN // 2) : at + SHOWN // 2].strip()


def columns_to_fill(task: Task, tables: Iterable[Table]) -> Counter[str]:
    """Columns that alone make a prompt or an answer and that some rows leave empty, with the number of these rows."""
    found = Counter[str]()
    alone = {name for names in task.columns if len(names) == 1 for name in names}
    for table in tables:
        found.update({name: replace(table, required=(name,)).incomplete() for name in alone})
    return +found  # those above 0


def merge_spellings(task: Task) -> TaskConfig | None:
    """The task with labels in lower case, where two of them differ in case alone; None where there are none such."""
    answer = task.config.answer
    if task.kind != "classify" or not answer.endswith(" }}") or "|" in answer:
        return None
    if len({label.lower() for label in task.labels}) == len(task.labels):
        return None
    return task.config.model_copy(update={"answer": answer.removesuffix(" }}") + " | lower }}"})
