"""Text of unknown origin: safe for a terminal or a table, in one normal form, without what nobody else may read."""

import ast
import json
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

LEAST_CUT = 100  # characters of texts that a source may have cut
HIDDEN = "***"  # in the place of a password
_VARIABLE = r"(?!\$\{\w+\}(?:[@&;\s]|$))"  # not `${NAME}`, which stands for a password and is none
_SECRET = r"(?:\w*(?:password|passwd|passphrase|pwd|secret|token|key))"  # what a parameter with one is called
_PASSWORD = re.compile(rf"(\w[\w+.-]*://[^\s:/@]*:){_VARIABLE}[^\s/@]+(?=@)")
_ADDRESS = re.compile(rf"^(\s*\w[\w+.-]*://[^:/@]*:){_VARIABLE}.+(?=@)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # all but tab and line break
_PARAMETER = re.compile(rf"([?&;]{_SECRET}=){_VARIABLE}[^&;\s]+", re.IGNORECASE)


def printable(text: object) -> str:
    """One line in which no control character acts."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def normal_form(text: str) -> str:
    """The text in the one spelling that Unicode has for it (NFC), for keys, labels and comparison."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def text_key(text: str) -> str:
    """A text without its case and spacing, in normal form: what makes two texts the same."""
    return " ".join(normal_form(text).casefold().split())


def column_name(name: str) -> str:
    """The name of a column as a template writes it: in normal form, without marks that nobody sees."""
    name = name.strip()
    return name if name.isascii() else without_invisible(normal_form(name)).strip()


def column_names(names: Sequence[str]) -> list[str]:
    """The names of columns as templates write them; as they stand where two would then be one."""
    written = [name if name.isascii() else column_name(name) for name in names]
    return written if len(set(written)) == len(names) else list(names)


def without_invisible(text: str) -> str:
    """A text without characters that have no width, such as a byte-order mark or those of writing directions."""
    return "".join(char for char in text if unicodedata.category(char) != "Cf" and char not in "\ufe0e\ufe0f")


def is_ascii_based(encoding: str) -> bool:
    """Whether Python knows an encoding of text, and ASCII is a part of it, so that a line ends at the same byte."""
    plain = bytes(range(9, 127))
    try:
        return plain.decode(encoding).encode() == plain
    except (LookupError, UnicodeError):
        return False


def written_list(text: str) -> list[Any] | None:
    """The list that a text is, as JSON or Python writes it; None where it is none."""
    bare = text.strip()
    if not (bare.startswith("[") and bare.endswith("]")):
        return None
    with suppress(ValueError, RecursionError):
        return cast(list[Any], json.loads(bare))
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        value: Any = ast.literal_eval(bare)
        # As numpy prints a list, without commas, Python reads its texts as one.
        if "".join(repr(value).split()) == "".join(bare.split()):
            return value
    return None


def printable_lines(text: str) -> str:
    """`printable` for a text of several lines."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def without_controls(text: str) -> str:
    """A page in which no control character acts, nor one that turns the direction of the text behind it."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def likely_cut(sizes: Sequence[int]) -> int:
    """How many of a set's texts have the most characters of all, if so many that a source may have cut them, else 0.

    Args:
        sizes: characters of each text.
    """
    longest = max(sizes, default=0)
    cut = sum(size == longest for size in sizes)
    return cut if longest >= LEAST_CUT and 3 <= cut < len(sizes) and cut > len(sizes) / 50 else 0


def without_passwords(text: str) -> str:
    """A text in whose addresses, such as postgresql://user:password@host/name, the password is `***`."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1{HIDDEN}", text))


def without_password(address: str) -> str:
    """One address without its password, whatever characters that is made of."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _ADDRESS.sub(rf"\1{HIDDEN}", address))


def gib(size: float) -> str:
    """Bytes in the unit of cards."""
    return f"{size / 2**30:.2f} GiB" if size < 10 * 2**30 else f"{size / 2**30:.1f} GiB"
