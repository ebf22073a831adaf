"""Writes the list of files in ARCHITECTURE.md from the sentence that opens each file: make architecture."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "multitune"
PAGE = ROOT / "ARCHITECTURE.md"
PROJECT = ROOT / "pyproject.toml"


def layers() -> list[str]:
    """Rooms and single files of the package in the order of the import contract, lowest first."""
    contracts = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (order,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    return [name.strip() for layer in reversed(order) for name in layer.split("|")]


ROOMS = tuple(name for name in layers() if (PACKAGE / name).is_dir())
LIST = re.compile(r"(<!-- files -->\n).*(<!-- end of files -->)", re.DOTALL)


def sources() -> list[Path]:
    """Every Python file of the package that holds code, in the order of the rooms and then by name."""
    files = [path for path in PACKAGE.rglob("*.py") if path.read_text(encoding="utf-8").strip()]
    return sorted(files, key=lambda path: (_room(path), path))


def _room(path: Path) -> int:
    room = path.relative_to(PACKAGE).parts[0]
    return ROOMS.index(room) if room in ROOMS else -1


def first_line(path: Path) -> str:
    """The first line of a file's docstring; empty where it has none."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def listing() -> str:
    """One line of Markdown per file."""
    lines = [f"- `{path.relative_to(PACKAGE).as_posix()}` {first_line(path)}\n" for path in sources()]
    return "".join(lines)


def written() -> str:
    """ARCHITECTURE.md as it should be."""
    return LIST.sub(lambda match: match[1] + listing() + match[2], PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
