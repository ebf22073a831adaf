"""The notebook runs from top to bottom, ends with what it promises, and is kept without outputs."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import byte_tokenizer, tiny_model

FILE = Path(__file__).parent.parent / "docs" / "first_model.ipynb"
NOTEBOOK: Any = nbformat.read(FILE, as_version=4)


def test_it_is_valid_and_holds_no_output() -> None:
    nbformat.validate(NOTEBOOK)
    code = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert len(code) > 5 and [cell for cell in code if cell.outputs or cell.execution_count] == []


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the cells of code show, with a tiny base and few rows in place of those that the first cell names."""
    folder, tokenizer = tmp_path_factory.mktemp("notebook"), byte_tokenizer()
    tiny_model(vocabulary=len(tokenizer), positions=1024).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    copy: Any = nbformat.from_dict(NOTEBOOK)
    first = next(cell for cell in copy.cells if cell.cell_type == "code")
    small = {
        "ROOT": f"Path({str(FILE.parents[1])!r})",
        "BASE": repr(str(folder / "base")),
        "ROWS": '{"train": 8, "validation": 4, "test": 6}',
    }
    for name, value in small.items():
        first.source, changed = re.subn(rf"(?m)^{name} = .+$", lambda _, text=f"{name} = {value}": text, first.source)
        assert changed == 1
    NotebookClient(copy, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    shown = []
    for cell in copy.cells:
        outputs = cell.outputs if cell.cell_type == "code" else []
        shown.append(
            "".join(one.get("text") or one.data.get("text/html") or one.data["text/plain"] for one in outputs)
        )
    return shown


def test_a_table_has_a_verdict_for_each_task(shown: list[str]) -> None:
    (table,) = [text for text in shown if "<th>verdict</th>" in text]
    cells = re.findall("<td>(.*?)</td>", table)
    assert [cell for cell in cells if cell in ("cards", "transfers", "analysis")] == ["cards", "transfers", "analysis"]
    assert len([cell for cell in cells if re.search("in this run|cannot tell", cell)]) == 3


def test_what_it_exports_was_verified(shown: list[str]) -> None:
    assert any(text.startswith("verified: ") for text in shown)
